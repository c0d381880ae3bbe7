//! Accepted submissions, and the reasons for refusals.

use super::*;
use serde_json::json;

fn reach() -> AllowedKeys {
    AllowedKeys::new("s3://pca", "lab", &["open".to_owned()])
}

fn read(value: Value) -> Submission {
    Submission::read(value.to_string().as_bytes(), &reach())
}

fn reasons(content: &str) -> Vec<String> {
    Submission::read(content.as_bytes(), &reach()).reasons
}

/// A good submission with one field changed.
fn with(field: &str, value: Value) -> Submission {
    let mut fields = json!({"dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "timestamp": "1"});
    fields[field] = value;
    read(fields)
}

#[test]
fn real_submissions_are_accepted() {
    for timestamp in [json!("1606753161"), json!("2020_08_03_20_22_14"), json!("16:52:06.836494condition_0_0")] {
        assert_eq!(with("timestamp", timestamp).reasons, Vec::<String>::new());
    }
    assert_eq!(with("timestamp", json!(1606753161)).timestamp.unwrap(), "1606753161");
    assert_eq!(with("dataname", json!("lab/inputs/folder/")).reasons, Vec::<String>::new());
    assert_eq!(with("dataname", json!(["lab/inputs/a b", "lab/inputs/$(x)\"'"])).datasets.len(), 2);
}

#[test]
fn a_number_is_kept_as_it_is_written() {
    let content =
        r#"{"dataname":"lab/inputs/x","configname":"lab/configs/c.yaml","timestamp":1606753161.50,"k":1e400}"#;
    let submission = Submission::read(content.as_bytes(), &reach());
    assert_eq!(submission.timestamp.as_deref(), Some("1606753161.50"));
    let exponent = content.replace("1606753161.50", "1E5");
    assert_eq!(Submission::read(exponent.as_bytes(), &reach()).timestamp.as_deref(), Some("1E5"));
    let line = submission.records(&Job { id: "job__pca_1".into(), ..Job::default() }, "t")[0].to_line();
    assert!(String::from_utf8(line).unwrap().contains(r#""k":1e+400"#));
}

#[test]
fn a_submit_file_is_read_as_python_reads_it_with_warnings() {
    let good = r#""dataname":"lab/inputs/NaN","configname":"lab/configs/c.yaml","#;
    let content = format!(r#"{{{good}"timestamp":1,"k":[NaN,-Infinity,"a\"NaN"],"timestamp":3,"timestamp":2}}"#);
    let submission = Submission::read(content.as_bytes(), &reach());
    assert_eq!((submission.reasons.as_slice(), submission.timestamp.as_deref()), (&[][..], Some("2")));
    let expected = [
        "`NaN` and `Infinity` in the submit file are read as `null`",
        "the submit file has `timestamp` more than once; the last value is used",
    ];
    assert_eq!(submission.warnings, expected);
    let line = submission.records(&Job { id: "job__pca_1".into(), ..Job::default() }, "t")[0].to_line();
    assert!(String::from_utf8(line).unwrap().contains(r#""k":[null,null,"a\"NaN"]"#));
    assert!(!reasons("NaN").is_empty());
}

#[test]
fn a_refusal_names_every_reason() {
    let reasons = read(json!({"dataname": ["other/inputs/x", 5, "lab/../x"], "timestamp": "a/b"})).reasons;
    assert_eq!(
        reasons,
        [
            "`timestamp` has a character that cannot be in a folder's name: `a/b`",
            "`dataname[0]`: `other/inputs/x` is not a key of the group `lab`",
            "`dataname[1]` is `5`, not a string",
            "`dataname[2]`: `lab/../x` is not a valid key: it has a component `.` or `..`",
            "`configname` is missing",
        ]
    );
}

#[test]
fn a_file_that_is_not_a_submission_is_refused() {
    let deep = format!("{{\"dataname\":{}", "[".repeat(500_000));
    for content in ["", " ", "{", "[]", "null", "5", "{}", "\u{feff}{}", deep.as_str()] {
        assert!(!reasons(content).is_empty(), "{content:.20}");
    }
}

#[test]
fn a_byte_order_mark_is_ignored_and_other_encodings_are_refused_by_name() {
    let good = json!({"dataname": "lab/inputs/é", "configname": "lab/configs/c.yaml", "timestamp": "1"}).to_string();
    assert_eq!(reasons(&format!("\u{feff}{good}")), Vec::<String>::new());
    let little: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(good.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let latin: Vec<u8> = good.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    for (content, name) in [(little, "UTF-16"), (big, "UTF-16"), (latin, "Latin-1")] {
        let submission = Submission::read(&content, &reach());
        assert!(submission.reasons[0].contains(name), "{:?}", submission.reasons);
    }
}

#[test]
fn a_dataset_or_config_is_never_a_file_that_the_tools_write() {
    for name in
        ["lab/results/job__pca_1/logs/x.record.json", "lab/logs/x", "lab/submissions/submit.json", "lab/results/"]
    {
        assert!(with("dataname", json!(name)).reasons[0].contains("which the tools write"), "{name}");
        assert!(!with("configname", json!(name)).is_accepted(), "{name}");
    }
    assert!(!with("resultpath", json!("s3://pca/lab/submissions")).is_accepted());
}

#[test]
fn no_name_leads_out_of_the_group() {
    for name in
        ["/lab/x", "lab", "lab/", "lab//x", "lab/../other/x", "labx/x", "", "other/x", "s3://pca/other/x", "s3://"]
    {
        assert!(!with("dataname", json!(name)).is_accepted(), "{name}");
        assert!(!with("configname", json!(name)).is_accepted(), "{name}");
    }
}

#[test]
fn another_bucket_needs_permission_and_must_have_all_inputs() {
    let bypass = |dataname: &str, configname: &str| {
        read(json!({"dataname": dataname, "configname": configname, "timestamp": "1"})).reasons
    };
    assert_eq!(bypass("s3://open/a", "s3://open/c.yaml"), Vec::<String>::new());
    assert!(bypass("s3://shut/a", "s3://shut/c.yaml")[0].contains("--allow-bypass shut"));
    assert!(bypass("s3://open/a", "s3://shut/c.yaml")[0].contains("more than one bucket"));
    assert!(bypass("s3://open/a", "lab/configs/c.yaml")[0].contains("use one form for all"));
}

#[test]
fn results_go_to_the_group_or_to_an_allowed_bucket() {
    for (path, accepted) in [
        ("s3://open/anywhere", true),
        ("s3://pca/lab/elsewhere", true),
        ("s3://pca/other/results", false),
        ("s3://pca", false),
        ("s3://shut/x", false),
        ("s3://open/a/../b", false),
        ("s3://open", false),
        ("/tmp/x", false),
    ] {
        assert_eq!(with("resultpath", json!(path)).is_accepted(), accepted, "{path}");
    }
    assert!(!with("resultpath", json!(5)).is_accepted());
}

#[test]
fn a_submission_cannot_set_the_tools_own_fields() {
    let mut fields = json!({"dataname": "lab/inputs/x", "configname": "lab/configs/c.yaml", "timestamp": "1"});
    fields["image"] = json!("evil");
    fields["io_dir"] = json!("/etc");
    fields["error"] = json!({"kind": "io"});
    fields["instance_type"] = json!("p3.2xlarge");
    let submission = read(fields);
    assert_eq!(submission.warnings.len(), 3);
    let record = submission.records(&Job { id: "job__pca_1".into(), ..Job::default() }, "t").remove(0);
    assert_eq!(record.text("instance_type"), Some("p3.2xlarge"));
    assert!(record.text("image").is_none() && record.text("io_dir").is_none() && !record.has_error());
}

#[test]
fn datasets_become_records_of_one_job() {
    let submission = with("dataname", json!(["lab/inputs/a/x.npy", "lab/inputs/b/x.npy"]));
    let records = submission.records(&Job { id: "job__pca_1".into(), ..Job::default() }, "t");
    let jobs: Vec<Job> = records.iter().filter_map(Record::job).collect();
    assert_eq!((jobs[0].dataset, jobs[0].datasets, jobs[0].label.as_deref()), (1, 2, Some("x.npy")));
    assert_eq!((jobs[1].dataset, jobs[1].datasets, jobs[1].label.as_deref()), (2, 2, Some("x.npy.2")));
}
