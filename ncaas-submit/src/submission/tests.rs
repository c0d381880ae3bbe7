//! What is accepted, and every reason why something is not.

use super::*;
use serde_json::json;

fn reach() -> Reach {
    Reach::new("s3://pca", "lab", &["open".to_owned()])
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
fn a_number_keeps_its_digits() {
    let content =
        r#"{"dataname":"lab/inputs/x","configname":"lab/configs/c.yaml","timestamp":1606753161.50,"k":1e400}"#;
    let submission = Submission::read(content.as_bytes(), &reach());
    assert_eq!(submission.timestamp.as_deref(), Some("1606753161.50"));
    let line = submission.records(&Job { id: "job__pca_1".into(), ..Job::default() }, "t")[0].to_line();
    assert!(String::from_utf8(line).unwrap().contains(r#""k":1e+400"#));
}

#[test]
fn every_reason_is_told_and_not_only_the_first() {
    let reasons = read(json!({"dataname": ["other/inputs/x", 5, "lab/../x"], "timestamp": "a/b"})).reasons;
    assert_eq!(
        reasons,
        [
            "`timestamp` has a character that cannot be in a folder's name: `a/b`",
            "`dataname[0]`: `other/inputs/x` is not one of the group `lab`'s keys",
            "`dataname[1]` is `5`, not a string",
            "`dataname[2]`: `lab/../x` is no key: it has a component `.` or `..`",
            "`configname` is missing",
        ]
    );
}

#[test]
fn what_is_no_submit_file_does_no_harm() {
    let deep = format!("{{\"dataname\":{}", "[".repeat(500_000));
    for content in ["", " ", "{", "[]", "null", "5", "{}", "\u{feff}{}", deep.as_str()] {
        assert!(!reasons(content).is_empty(), "{content:.20}");
    }
    assert!(!Submission::read(b"\xff\xfe", &reach()).is_accepted());
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
fn another_bucket_is_reached_only_where_it_is_allowed_and_by_all_names() {
    let bypass = |dataname: &str, configname: &str| {
        read(json!({"dataname": dataname, "configname": configname, "timestamp": "1"})).reasons
    };
    assert_eq!(bypass("s3://open/a", "s3://open/c.yaml"), Vec::<String>::new());
    assert!(bypass("s3://shut/a", "s3://shut/c.yaml")[0].contains("--allow-bypass shut"));
    assert!(bypass("s3://open/a", "s3://shut/c.yaml")[0].contains("more than one bucket"));
    assert!(bypass("s3://open/a", "lab/configs/c.yaml")[0].contains("either all or none"));
}

#[test]
fn results_go_to_the_own_group_or_where_it_is_allowed() {
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
