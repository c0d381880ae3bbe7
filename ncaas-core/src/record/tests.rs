//! The JSON of a record, pinned in both directions.

use super::*;

fn parse(line: &str) -> Record {
    Record::parse(line.as_bytes()).unwrap()
}

fn line(record: &Record) -> String {
    String::from_utf8(record.to_line()).unwrap()
}

#[test]
fn what_we_do_not_know_passes_through_to_the_digit_and_in_order() {
    let text = r#"{"zeta":1.000000000000000000001,"alpha":{"n":123456789012345678901234567890,"m":1e+400},"x":[1.50,-0.0],"error":null}"#;
    assert_eq!(line(&parse(text)).trim_end(), text);
}

#[test]
fn merge_changes_the_fields_it_names_and_no_others() {
    let mut record = parse(r#"{"container":{"id":"a","mine":7,"state":"running"},"note":"keep","error":null}"#);
    record.merge(&RecordFields {
        image: Some("i".into()),
        container: Some(Container { id: "a".into(), state: "exited".into(), ..Default::default() }),
        ..Default::default()
    });
    let container = record.as_map()["container"].as_object().unwrap();
    assert_eq!(container["mine"], serde_json::json!(7));
    assert_eq!(container["state"], "exited");
    assert_eq!(record.as_map().keys().collect::<Vec<_>>(), ["container", "note", "image", "error"]);
}

#[test]
fn flags_fill_in_and_never_override() {
    let mut record = parse(r#"{"image":"a"}"#);
    record.fill("image", &"b");
    record.fill("io_dir", &"/d");
    assert_eq!(record.text("image"), Some("a"));
    assert_eq!(record.text("io_dir"), Some("/d"));
}

#[test]
fn the_failure_of_a_line_that_is_not_an_object_names_its_type() {
    let failure = Record::parse(b"[1]").unwrap_err();
    assert_eq!(failure.kind, Kind::BadRecord);
    assert_eq!(failure.message, "the line is an array, not a JSON object");
}

#[test]
fn a_field_of_another_type_is_named_with_its_path() {
    let said = |line: &str| {
        let failure = Record::parse(line.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, Kind::BadRecord);
        failure.message
    };
    let long = format!(r#"{{"logs":{{"lines":"{}"}}}}"#, "é".repeat(5000));
    let cases = [
        (r#"{"command":"ls"}"#, "`command`: expected an array, found the string \"ls\""),
        (
            r#"{"image":"i","run":{"timeout_s":"5"}}"#,
            "`run.timeout_s`: expected a whole number from 0, found the string \"5\"",
        ),
        (
            r#"{"results":[{"path":"a","size":1,"source":"b"},{"path":7}]}"#,
            "`results[1].path`: expected a string, found a number",
        ),
        (r#"{"job":{"dataset":1}}"#, "`job`: the field `id` is missing"),
        (&long, "`logs.lines`: expected a whole number from 0, found the string \"éé"),
    ];
    for (line, words) in cases {
        let message = said(line);
        assert!(message.contains(words) && message.len() < 600, "{line:.100}: {message}");
    }
}

#[test]
fn a_bad_line_is_kept_by_its_beginning() {
    let failure = Failure::new(Kind::BadRecord, "no");
    let record = Record::from_bad_line("é".repeat(300).as_bytes(), &failure, "ncaas-exec");
    assert!(record.text("line").unwrap().starts_with("éé"));
    assert_eq!(record.error().unwrap().kind, Kind::BadRecord);
    assert!(record.is_failed());
}

#[test]
fn a_failed_job_is_a_failed_record() {
    assert!(parse(r#"{"container":{"id":"a","status":"failed"}}"#).is_failed());
    assert!(!parse(r#"{"container":{"id":"a","status":null}}"#).is_failed());
}

#[test]
fn the_tools_know_which_fields_are_their_own() {
    for ours in ["job", "dataname", "io_dir", "image", "command", "container", "error"] {
        assert!(RecordFields::has_field(ours), "{ours}");
    }
    assert!(!RecordFields::has_field("instance_type"));
}

#[test]
fn fields_out_of_bounds_are_refused_where_a_record_enters() {
    let long = "x".repeat(300);
    let lines = [
        r#"{"job":{"id":"j","datasets":9223372036854775808}}"#.to_owned(),
        r#"{"job":{"id":"j","dataset":200001}}"#.to_owned(),
        format!(r#"{{"job":{{"id":"{long}"}}}}"#),
        format!(r#"{{"job":{{"id":"j","label":"{long}"}}}}"#),
        format!(r#"{{"container":{{"name":"{long}"}}}}"#),
        r#"{"container":{"id":"/io/s1.record.json"}}"#.to_owned(),
        r#"{"container":{"name":"../s1.record.json"}}"#.to_owned(),
        r#"{"io_dir":"relative"}"#.to_owned(),
        r#"{"io_dir":"/io/../etc"}"#.to_owned(),
        r#"{"configname":"a\u0000b"}"#.to_owned(),
    ];
    for line in lines {
        let failure = Record::parse(line.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, Kind::BadRecord, "{line}");
        assert!(failure.message.len() < 400, "{}", failure.message);
    }
    parse(r#"{"job":{"id":"j","dataset":200000,"datasets":200000},"io_dir":"/io"}"#);
}

#[test]
fn a_byte_order_mark_is_skipped_and_errors_have_no_jargon() {
    assert_eq!(parse("\u{feff}{\"a\":1}").text("a"), None);
    let failure = Record::parse(b"nope").unwrap_err();
    assert_eq!(failure.message, "the line is not JSON: this is not a JSON value (line 1, column 2)");
    let failure = Record::parse(b"{\"a\": ").unwrap_err();
    assert_eq!(failure.message, "the line is not JSON: the text ends too early (line 1, column 6)");
    for (line, cause) in [
        (&b"{\"a\" 1}"[..], "`:` is missing"),
        (b"{\"a\": \"\\x\"}", "a string contains an invalid escape sequence"),
        (b"{\"a\": \"\xff\"}", "the text is not valid UTF-8"),
    ] {
        let message = Record::parse(line).unwrap_err().message;
        assert!(message.starts_with(&format!("the line is not JSON: {cause} (line 1, ")), "{message}");
    }
}

#[test]
fn results_are_listed_in_the_record_or_in_a_file() {
    let result = r#"{"path":"p","size":1,"source":"/x"}"#;
    assert!(parse(&format!(r#"{{"results":[{result}]}}"#)).has_results());
    assert!(parse(r#"{"results":[],"results_file":{"path":"p","count":1,"size":1,"sha256":"00"}}"#).has_results());
    for line in ["{}", r#"{"results":[]}"#, r#"{"results":null,"results_file":null}"#] {
        assert!(!parse(line).has_results(), "{line}");
    }
}
