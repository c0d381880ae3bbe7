//! Configs as Python reads them. The numbers and refusals follow the rules of `json` and PyYAML 6.

use super::*;

fn config(name: &str, content: &str) -> Config {
    parse(name, content.as_bytes()).unwrap()
}

fn refusal(name: &str, content: &[u8]) -> String {
    let failure = parse(name, content).unwrap_err();
    assert_eq!(failure.kind, Kind::BadConfig);
    failure.message
}

#[test]
fn the_duration_is_minutes_and_the_size_gigabytes() {
    let yaml = config("c.yaml", "__duration__: 1.5\nn: 3\n");
    assert_eq!(yaml, Config { timeout_s: Some(90), ..Config::default() });
    let json = config("lab/C.JSON", "{\"__duration__\": 2,\n\t\"__dataset_size__\": 0.5}");
    assert_eq!((json.timeout_s, json.disk_bytes), (Some(120), Some(500_000_000)));
    assert_eq!(config("c.yaml", "__duration__: null\n__dataset_size__:\n"), Config::default());
    assert_eq!(config("c.json", r#"{"__duration__": null}"#), Config::default());
}

#[test]
fn a_value_of_the_platforms_that_is_not_a_number_above_0_is_refused() {
    assert_eq!(
        refusal("c.yaml", b"__duration__: soon\n__dataset_size__: -1\n"),
        "the config `c.yaml` is not valid: `__duration__` must be a number above 0, not the string `soon`; \
         `__dataset_size__` must be a number above 0, not -1"
    );
    for value in ["0", "-2", "yes", ".nan", ".inf", "'10'", "[1]", "{a: 1}", "1e3", "1.5e3", "08"] {
        assert!(refusal("c.yaml", format!("__duration__: {value}").as_bytes()).contains("above 0, not"), "{value}");
    }
    for value in ["0", "-2", "true", "NaN", "Infinity", "-Infinity", "\"10\"", "[1]", "{}", "1e400"] {
        let json = format!(r#"{{"__duration__": {value}}}"#);
        assert!(refusal("c.json", json.as_bytes()).contains("above 0, not"), "{value}");
    }
}

#[test]
fn numbers_are_those_of_yaml_1_1() {
    let cases = [
        ("10", 600),
        ("+10", 600),
        ("1_0", 600),
        ("010", 480),
        ("0x10", 960),
        ("0b11", 180),
        ("1:30", 5400),
        ("1.", 60),
        (".5", 30),
        ("1.5e+1", 900),
        ("!!float 10", 600),
        ("!!int \"10\"", 600),
        ("1:30.5", 5430),
    ];
    for (text, seconds) in cases {
        assert_eq!(config("c.yaml", &format!("__duration__: {text}")).timeout_s, Some(seconds), "{text}");
    }
    assert_eq!(config("c.json", r#"{"__duration__": 1e1, "x": NaN, "y": [-Infinity]}"#).timeout_s, Some(600));
}

#[test]
fn merge_keys_count() {
    let cases = [
        ("base: &b {__duration__: 2}\n<<: *b\n", Some(120)),
        ("base: &b {__duration__: 2}\n__duration__: 3\n<<: *b\n", Some(180)),
        ("a: &a {__duration__: 2}\nb: &b {__duration__: 3}\n<<: [*a, *b]\n", Some(120)),
        ("a: &a {__duration__: 2}\nb: &b\n  <<: *a\n  n: 1\n<<: *b\n", Some(120)),
        ("a: &a {__duration__: 2}\n\"<<\": *a\n", None),
        ("a: &a {__duration__: 2}\nb:\n  <<: *a\n", None),
    ];
    for (text, seconds) in cases {
        assert_eq!(config("c.yaml", text).timeout_s, seconds, "{text}");
    }
    assert!(refusal("c.yaml", b"<<: 3\n").contains("the value of `<<` is neither a mapping nor a list of mappings"));
}

#[test]
fn a_config_is_a_mapping() {
    assert!(refusal("c.yml", b"- a\n- b\n").contains("it is a list, and a config must be a mapping"));
    assert!(refusal("c.yaml", b"# nothing\n").contains("it is empty"));
    assert!(refusal("c.json", b"[1]").contains("does not parse as JSON: it is an array, not an object"));
    assert!(refusal("c.yaml", b"a: 1\n---\nb: 2\n").contains("more than one document"));
    assert!(refusal("c.txt", b"a: 1\n").contains("must end in `.json`, `.yaml` or `.yml`"));
}

#[test]
fn a_config_that_does_not_parse_is_refused_with_the_position_and_no_jargon() {
    assert_eq!(
        refusal("c.json", b"{\"a\": 1,\n}"),
        "the config `c.json` does not parse as JSON: `,` is not allowed before the closing bracket at line 2, column 1"
    );
    for (name, text) in [("c.yaml", "a: [1, 2\nb: }"), ("c.json", "a: 1"), ("c.json", ""), ("c.json", "{\"a\": ")] {
        let message = refusal(name, text.as_bytes());
        assert!(message.contains("does not parse") && message.contains("line "), "{message}");
        assert!(!message.contains("ident") && !message.contains("EOF"), "{message}");
    }
    assert!(refusal("c.yaml", b"a: \x07\n").contains("the control character U+0007"));
}

#[test]
fn tags_of_python_are_refused_and_standard_ones_read() {
    for tag in ["!!python/object/apply:os.system", "!thing", "!<tag:example.org,2000:x>"] {
        assert!(refusal("c.yaml", format!("a: {tag} [x]\n").as_bytes()).contains("is not supported"), "{tag}");
    }
    config("c.yaml", "a: !!set {x, y}\nb: !!str 1\nc: !!binary aGk=\nd: ! x\ne: !!omap [a: 1]\n");
}

#[test]
fn other_encodings_than_utf_8_are_named() {
    assert_eq!(config("c.json", "\u{feff}{\"__duration__\": 1}").timeout_s, Some(60));
    assert_eq!(config("c.yaml", "\u{feff}__duration__: 1\n").timeout_s, Some(60));
    assert!(refusal("c.yaml", b"\xff\xfea\0:\0").contains("UTF-16"));
    assert!(refusal("c.json", b"{\0\"\0").contains("UTF-16"));
    assert!(refusal("c.yaml", b"a: 1\nb: caf\xe9\n").contains("Latin-1 or Windows-1252 (line 2)"));
}

#[test]
fn the_last_of_duplicate_keys_counts_with_a_warning() {
    let expected = ["the config `c` has `__duration__` more than once; the last value is used"];
    for (name, text) in [
        ("c.yaml", "__duration__: 1\n__duration__: 2\n"),
        ("c.json", r#"{"__duration__": 1, "__duration__": 2}"#),
        ("c.yaml", "__duration__: 2\na: {__duration__: 1, '__duration__': 3}\n"),
    ] {
        let config = config(name, text);
        assert_eq!(config.timeout_s, Some(120), "{text}");
        assert_eq!(config.warnings, expected.map(|words| words.replace("`c`", &format!("`{name}`"))), "{text}");
    }
    let many: String = (0..30).map(|number| format!("k{number}: 1\nk{number}: 2\n")).collect();
    assert_eq!(config("c.yaml", &many).warnings.len(), fields::MAX_WARNINGS + 1);
    assert!(config("c.yml", "a: 1\n").warnings[0].contains("refuses the config `c.yml`"));
}

#[test]
fn a_yaml_that_unfolds_without_end_is_refused() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (above, name) in ('a'..'h').zip('b'..'i') {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{above}"); 9].join(", "));
    }
    assert!(refusal("c.yaml", bomb.as_bytes()).contains("unfold"));
    config("c.yaml", "a: &a [*a, {b: *a}]\n");
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000)] {
        refusal("c.yaml", deep.as_bytes());
        refusal("c.json", deep.as_bytes());
    }
    let huge = vec![b'#'; MAX_SIZE as usize + 1];
    assert_eq!(parse("c.yaml", &huge).unwrap_err().kind, Kind::TooLarge);
}

/// Cases and what Python made of them: the extension, the content, and the seconds of `__duration__`, `none` or
/// `refused`. The verdicts are those of Python 3.11 (`json.loads`) and PyYAML 6.0.3 (`safe_load`), with the platform's
/// rules for fields.
const PYTHON_VERDICTS: &str = include_str!("python_verdicts.jsonl");

#[test]
fn configs_are_read_as_python_reads_them() {
    // Rarities that the YAML parser reads otherwise, or that are refused on purpose.
    let known = [
        ("a: \u{85}b\n", "a line break of YAML 1.1"),
        ("a: \u{2028}b\n", "a line break of YAML 1.1"),
        ("a: \"x\ny\"\n", "a quoted scalar that continues in the first column"),
        (": 5\n", "an empty key"),
    ];
    let mut differences = Vec::new();
    for line in PYTHON_VERDICTS.lines() {
        let (extension, content, expected): (String, String, serde_json::Value) = serde_json::from_str(line).unwrap();
        let parsed = parse(&format!("c.{extension}"), content.as_bytes());
        let verdict = match &parsed {
            Err(_) => "refused".into(),
            Ok(config) => config.timeout_s.map_or("none".into(), serde_json::Value::from),
        };
        if verdict != expected && !known.iter().any(|(text, _)| *text == content) {
            differences.push(format!("{extension} {content:?}: {verdict}, Python {expected}: {parsed:?}"));
        }
    }
    assert_eq!(differences, Vec::<String>::new());
}
