//! `ncaas-submit watch`: refused submissions and hostile submit files.

use ncaas_tests::Ran;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{put_submit_file, submit_one_dataset, watch_once, with_inputs};
use serde_json::json;

/// The reasons of the one refusal.
fn refusal(ran: &Ran) -> String {
    let record = ran.record();
    assert_eq!((ran.status, record.error_kind()), (1, "bad-submission"), "{}", ran.text());
    assert!(record.setup.unwrap().iter().any(|event| event["event"] == "refused it"));
    record.error.unwrap().message
}

fn refusals_name_every_reason(bucket: &TestBucket) {
    put_submit_file(
        bucket,
        "1",
        &json!({"dataname": ["lab/inputs/no.npy", "other/inputs/theirs.npy", "lab/inputs/folder", 5],
        "configname": "lab/configs/none.yaml", "timestamp": "1", "image": "evil", "io_dir": "/etc"}),
    );
    let ran = watch_once(bucket);
    let message = refusal(&ran);
    for reason in [
        "the dataset `lab/inputs/no.npy` does not exist",
        "`other/inputs/theirs.npy` is not a key of the group `lab`",
        "the dataset `lab/inputs/folder` is a folder: write `lab/inputs/folder/`",
        "`dataname[3]` is `5`, not a string",
        "the config `lab/configs/none.yaml` does not exist",
    ] {
        assert!(message.contains(reason), "{reason} is not in: {message}");
    }
    let record = ran.record();
    assert!(record.image.is_none() && record.io_dir.is_none(), "a submission cannot choose image or io-dir");
    assert_eq!(record.warnings.unwrap().len(), 2);
    assert_eq!(record.job.unwrap().id, format!("job__{}_1", bucket.analysis()));
    assert!(ran.stderr.contains("`lab/submissions/1_submit.json`: "), "{}", ran.stderr);
}

#[test]
fn a_refusal_names_every_reason_in_a_directory() {
    refusals_name_every_reason(&with_inputs(TestBucket::directory("pca")));
}

#[test]
fn an_archived_config_is_refused_with_the_command_that_restores_it() {
    let bucket = with_inputs(TestBucket::s3("archived"));
    bucket.put_archived("lab/configs/c.yaml");
    submit_one_dataset(&bucket, "1");
    let message = refusal(&watch_once(&bucket));
    assert!(message.contains("is archived: restore it with `aws s3api restore-object"), "{message}");
}

#[test]
fn a_refusal_names_every_reason_on_s3() {
    refusals_name_every_reason(&with_inputs(TestBucket::s3("refuse")));
}

#[test]
fn hostile_submit_files_are_refused_and_write_nothing_outside_their_group() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let good = json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/config.yaml", "timestamp": "good"});
    put_submit_file(&bucket, "good", &good);
    bucket.put("lab/submissions/deep_submit.json", "[".repeat(900_000));
    bucket.put("lab/submissions/large_submit.json", vec![b' '; 100 << 20]);
    bucket.put("lab/submissions/binary_submit.json", [0xff; 100]);
    bucket.put("lab/submissions/empty_submit.json", "");
    bucket.put("lab/submissions/array_submit.json", "[]");
    for (name, timestamp) in
        [("up", "../../../x"), ("slash", "a/b"), ("line", "a\nb"), ("long", &"x".repeat(300)), ("none", "")]
    {
        let mut submission = good.clone();
        submission["timestamp"] = timestamp.into();
        put_submit_file(&bucket, name, &submission);
    }
    bucket.put("lab/configs/bomb.yaml", format!("a: &a [{}]\n{}", "x, ".repeat(9), bomb()));
    put_submit_file(
        &bucket,
        "bomb",
        &json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/bomb.yaml", "timestamp": 1}),
    );
    put_submit_file(
        &bucket,
        "good",
        &json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/config.yaml", "timestamp": "good"}),
    );

    let ran = watch_once(&bucket);
    assert_eq!(ran.status, 1);
    let records = ran.records();
    assert_eq!(records.len(), 12, "{}", ran.text());
    for record in records {
        let job = record.job.clone().unwrap();
        let expected = if job.id == "job__pca_good" { "" } else { "bad-submission" };
        assert_eq!(record.error_kind(), expected, "{}", job.id);
        assert!(!job.id.contains('/') && !job.id.contains('\n'), "{}", job.id);
    }
    let outside: Vec<String> =
        bucket.keys().into_iter().filter(|key| !key.starts_with("lab/") && !key.starts_with("other/")).collect();
    assert!(outside.iter().all(|key| key.starts_with(".ncaas")), "{outside:?}");
}

/// YAML whose aliases unfold to 9^9 values.
fn bomb() -> String {
    let line = |(above, name): (char, char)| format!("{name}: &{name} [{}]\n", vec![format!("*{above}"); 9].join(", "));
    ('a'..'j').zip('b'..'k').map(line).collect()
}
