//! `ncaas-submit cancel`.

use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::pipeline::SubmittedJob;
use ncaas_tests::submissions::{list_submissions, run_verb, submit_two_datasets, watch_once, with_inputs};
use ncaas_tests::{Run, wait_until};
use serde_json::{Value, json};

#[test]
fn cancel_stops_a_running_submission() {
    let job = SubmittedJob::new("cancel");
    let pipe = job.start_pipe("echo begun; sleep 600");
    job.wait_for_container();
    run_verb(&job.bucket, "cancel", &[&job.name]);
    let end = job.key("process_results/end.txt");
    wait_until("end.txt", Duration::from_secs(60), || job.bucket.get(&end).is_some());
    job.wait_for_removal();
    drop(pipe);
    let record: Value = serde_json::from_str(&job.bucket.text(&job.key("logs/a.txt.record.json"))).unwrap();
    assert_eq!(record["container"]["status"], "killed", "{record}");
    assert_eq!(list_submissions(&job.bucket, &[])[0]["state"], "cancelled");
}

#[test]
fn a_cancelled_submission_does_not_run_and_a_retried_one_does() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_two_datasets(&bucket, "1");
    run_verb(&bucket, "cancel", &[&id]).ok();
    run_verb(&bucket, "cancel", &["1"]).ok();
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "cancelled");
    let records = watch_once(&bucket).json();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record["error"]["kind"], "cancelled", "{record}");
    }
    let retried =
        Run::tool("ncaas-submit").args(["retry"]).stdin(format!("{}\n", list_submissions(&bucket, &[])[0])).run().ok();
    assert_eq!(retried.json()[0]["state"], "waiting");
    let records = watch_once(&bucket).json();
    assert_eq!((&records[0]["error"], &records[0]["job"]["attempt"]), (&Value::Null, &json!(2)));
    run_verb(&bucket, "retry", &["1"]).ended_saying(1, "`job__pca_1` has not ended");
}
