//! `ncaas-submit retry`.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{list_submissions, run_verb, submit_two_datasets, watch_once, with_inputs};
use serde_json::{Value, json};

#[test]
fn retry_runs_a_refused_submission_once_its_dataset_exists() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put(
        "lab/submissions/1_submit.json",
        json!({"dataname": "lab/inputs/late.npy", "configname": "lab/configs/c.yaml", "timestamp": "1"}).to_string(),
    );
    let refused = watch_once(&bucket).json();
    assert_eq!(refused[0]["error"]["kind"], "bad-submission");
    bucket.put("lab/results/job__pca_1/logs/late.npy.record.json", format!("{}\n", refused[0]));
    bucket.put("lab/results/job__pca_1/process_results/end.txt", "");
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "refused");
    assert_eq!(watch_once(&bucket).json().len(), 0);
    bucket.put("lab/inputs/late.npy", "late");
    run_verb(&bucket, "retry", &["1"]).ok();
    let again = watch_once(&bucket).json();
    assert_eq!((again.len(), &again[0]["error"]), (1, &Value::Null));
    run_verb(&bucket, "retry", &["nowhere"]).ended_saying(1, "the group `lab` has no submission `nowhere`");
}

#[test]
fn retry_says_how_many_datasets_had_succeeded() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    submit_two_datasets(&bucket, "1");
    assert_eq!(watch_once(&bucket).json().len(), 2);
    let line = |name: &str, status: &str| {
        format!("DATANAME: lab/inputs/{name} | STATUS: {status} | TIME: x | LAST COMMAND: x | CPU_USAGE: 1\n")
    };
    let lines = [line("x.npy", "SUCCESS"), line("y.npy", "FAILED")].concat();
    let certificate = format!("PER ENVIRONMENT MONITORING:\n================\n{lines}================\n");
    bucket.put("lab/results/job__pca_1/logs/certificate.txt", certificate);
    bucket.put("lab/results/job__pca_1/process_results/end.txt", "");
    let retried = run_verb(&bucket, "retry", &["1"]);
    retried.ended_saying(0, "`job__pca_1`: 2 datasets will run again, of which 1 had succeeded");
}
