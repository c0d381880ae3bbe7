//! What a job's config says to the platform, beside what it says to the analysis.

use std::path::Path;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};

const DURATION: &str = "__duration__";
const DATASET_SIZE: &str = "__dataset_size__";

/// The two fields of a config that are the platform's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Bounds {
    /// `__duration__` (minutes), in seconds: how long the job may run.
    pub(crate) timeout_s: Option<u64>,
    /// `__dataset_size__` (GB), in bytes: how much room the job will need.
    pub(crate) disk_bytes: Option<u64>,
}

/// Reads them from a config file.
///
/// # Errors
/// [`Kind::BadConfig`] where it does not parse, or one of the two is no positive number.
pub(crate) fn bounds(path: &Path) -> Result<Bounds> {
    let known = path.extension().and_then(|extension| extension.to_str());
    if !known.is_some_and(|known| ["json", "yaml", "yml"].iter().any(|ours| known.eq_ignore_ascii_case(ours))) {
        return Ok(Bounds::default());
    }
    let text = std::fs::read(path).doing("read", path)?;
    // JSON is YAML, but for the tabs that it may be indented with.
    let config = serde_json::from_slice::<serde_json::Value>(&text).or_else(|_| {
        let yaml = serde_yaml_ng::from_slice::<serde_yaml_ng::Value>(&text).map_err(|error| error.to_string())?;
        // An analysis may use more of YAML than JSON has; the platform's fields stand at the top.
        let field = |name: &str| yaml.get(name).and_then(|value| serde_json::to_value(value).ok());
        let fields = [DURATION, DATASET_SIZE].map(|name| (name.to_owned(), field(name).unwrap_or_default()));
        Ok(serde_json::Value::Object(fields.into_iter().collect()))
    });
    let config = config.map_err(|reason: String| {
        Failure::new(Kind::BadConfig, format!("the config `{}` does not parse: {reason}", path.display()))
    })?;
    let number = |field: &str, unit: f64| match config.get(field) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => match value.as_f64().map(|number| number * unit) {
            Some(number) if number > 0.0 && number < 1e18 => Ok(Some(number.ceil() as u64)),
            _ => Err(Failure::new(
                Kind::BadConfig,
                format!("`{field}` in the config `{}` is no positive number", path.display()),
            )),
        },
    };
    Ok(Bounds { timeout_s: number(DURATION, 60.0)?, disk_bytes: number(DATASET_SIZE, 1e9)? })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Result<Bounds> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        bounds(&path)
    }

    #[test]
    fn the_duration_is_minutes_and_the_size_gigabytes() {
        let yaml = of("c.yaml", "__duration__: 1.5\nn: 3\n").unwrap();
        assert_eq!(yaml, Bounds { timeout_s: Some(90), disk_bytes: None });
        let json = of("c.json", "{\"__duration__\": 2,\n\t\"__dataset_size__\": 3}").unwrap();
        assert_eq!(json, Bounds { timeout_s: Some(120), disk_bytes: Some(3_000_000_000) });
        assert_eq!(of("c.txt", "{ [").unwrap(), Bounds::default());
    }

    #[test]
    fn a_config_that_cannot_be_one_is_refused() {
        for (name, text) in [
            ("c.json", "{\"a\": "),
            ("c.yml", "a: [1"),
            ("c.yaml", "__duration__: soon"),
            ("c.yaml", "__duration__: 0"),
        ] {
            assert_eq!(of(name, text).unwrap_err().kind, Kind::BadConfig, "{text}");
        }
    }
}
