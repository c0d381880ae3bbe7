//! A job's config: that it parses, and that what the platform reads in it is of the right type.

use serde_json::Value;

/// The largest config that is read, in bytes.
pub(crate) const LARGEST: u64 = 16 << 20;

/// How a config's name may end.
const ENDINGS: [&str; 3] = [".json", ".yaml", ".yml"];

/// What the platform itself reads in a config, which must be numbers: the job's time in minutes, the datasets' size in GB.
const NUMBERS: [&str; 2] = ["__duration__", "__dataset_size__"];

/// Whether a config may have that name.
///
/// # Errors
/// The reason why not.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Ok(());
    }
    Err(format!("the config `{name}` ends in none of `.json`, `.yaml` and `.yml`"))
}

/// Whether a config of that name parses.
///
/// # Errors
/// Every reason why it is refused.
pub(crate) fn check(name: &str, content: &[u8]) -> Result<(), Vec<String>> {
    let refuse = |why: String| vec![format!("the config `{name}` {why}")];
    let fields: Vec<(&str, Option<f64>)> = if name.ends_with(".json") {
        let config: Value =
            serde_json::from_slice(content).map_err(|error| refuse(format!("does not parse: {error}")))?;
        NUMBERS.iter().filter_map(|field| Some((*field, config.get(*field)?.as_f64()))).collect()
    } else {
        let config: serde_yaml_ng::Value =
            serde_yaml_ng::from_slice(content).map_err(|error| refuse(format!("does not parse: {error}")))?;
        NUMBERS.iter().filter_map(|field| Some((*field, config.get(*field)?.as_f64()))).collect()
    };
    let wrong: Vec<String> = fields
        .into_iter()
        .filter(|(_, number)| !number.is_some_and(|number| number.is_finite() && number >= 0.0))
        .flat_map(|(field, _)| refuse(format!("has a `{field}` that is not a number from 0 up")))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose config is not refused has failed")]
mod tests {
    use super::*;

    #[test]
    fn configs_of_both_kinds_parse() {
        check("c.yaml", b"n_components: 3\n__duration__: 10\n").unwrap();
        check("c.yml", b"- a\n- b\n").unwrap();
        check("c.json", br#"{"__duration__": 0.5, "__dataset_size__": 3}"#).unwrap();
    }

    #[test]
    fn what_does_not_parse_is_refused_with_the_place() {
        assert!(check("c.yaml", b"a: [1, 2\nb: }").unwrap_err()[0].contains("line"));
        assert!(check("c.json", b"a: 1").unwrap_err()[0].contains("does not parse"));
        assert!(check("c.json", b"").unwrap_err()[0].contains("does not parse"));
        assert!(check("c.json", b"{\"a\":\xff}").is_err());
    }

    #[test]
    fn the_platforms_own_fields_are_numbers() {
        let wrong = check("c.yaml", b"__duration__: soon\n__dataset_size__: -1\n").unwrap_err();
        assert_eq!(wrong.len(), 2);
        assert_eq!(wrong[0], "the config `c.yaml` has a `__duration__` that is not a number from 0 up");
        assert_eq!(check("c.yaml", b"__duration__: .nan").unwrap_err().len(), 1);
    }

    #[test]
    fn a_yaml_that_unfolds_without_end_is_refused() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (above, name) in ('a'..'h').zip('b'..'i') {
            bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{above}"); 9].join(", "));
        }
        assert!(check("c.yaml", bomb.as_bytes()).is_err());
        assert!(check("c.yaml", "[".repeat(100_000).as_bytes()).is_err());
        assert!(check("c.json", "[".repeat(100_000).as_bytes()).is_err());
    }
}
