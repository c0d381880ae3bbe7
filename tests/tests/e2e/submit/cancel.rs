//! `ncaas-submit cancel`.

use std::time::Duration;

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::docker;
use ncaas_tests::pipeline::{SubmittedJob, pipeline_script};
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::submissions::{list_submissions, run_verb, submit_two_datasets, watch_once, with_inputs};
use ncaas_tests::{Run, pipe_in, wait_until};
use serde_json::{Value, json};

#[test]
fn cancel_stops_a_running_submission() {
    let job = SubmittedJob::new("cancel");
    let pipe = job.start_pipe("echo begun; sleep 600");
    job.wait_for_container();
    run_verb(&job.bucket, "cancel", &[&job.name]);
    wait_for_cancelled_end(&job);
    drop(pipe);
    assert_eq!(list_submissions(&job.bucket, &[])[0]["state"], "cancelled");
    assert_eq!(list_submissions(&job.bucket, &[])[0]["jobs"][0]["status"], "cancelled");
}

/// Waits for the end of a cancelled job, and checks what its files say.
fn wait_for_cancelled_end(job: &SubmittedJob) {
    let end = job.key("process_results/end.txt");
    wait_until("end.txt", Duration::from_secs(20), || job.bucket.get(&end).is_some());
    job.wait_for_removal();
    let record: Value = serde_json::from_str(&job.bucket.text(&job.key("logs/a.txt.record.json"))).unwrap();
    assert_eq!(record["container"]["status"], "killed", "{record}");
    assert_eq!((&record["container"]["stopped_by"], &record["error"]), (&json!("cancelled"), &Value::Null));
    let certificate = job.bucket.text(&job.key("logs/certificate.txt"));
    assert!(certificate.contains("LAST COMMAND: was cancelled"), "{certificate}");
    let status = job.bucket.text(&job.key("logs/DATASET_NAME:a.txt_STATUS.txt"));
    assert!(status.contains(r#""was cancelled""#), "{status}");
    let stderr = std::fs::read_to_string(job.folder.path().join("stderr")).unwrap();
    assert!(stderr.contains("a.txt was cancelled after "), "{stderr}");
}

#[test]
fn a_retry_that_is_cancelled_before_a_watcher_runs_it_keeps_the_earlier_run() {
    let job = SubmittedJob::new("kept");
    let pipe = |analysis: &str| {
        let script = pipeline_script(&job.bucket.address(), "--once", analysis);
        pipe_in(job.folder.path(), &script, &[])
    };
    pipe("cp $1 io-dir/results/r").ended_saying(0, "a.txt succeeded in ");
    let files = ["logs/a.txt.record.json", "logs/certificate.txt", "logs/DATASET_NAME:a.txt_STATUS.txt"];
    let read = || files.map(|file| job.bucket.text(&job.key(file)));
    let state = || list_submissions(&job.bucket, &[])[0].clone();
    let (before, end) = (read(), job.key("process_results/end.txt"));
    for _ in 0..2 {
        run_verb(&job.bucket, "retry", &[&job.name])
            .ended_saying(0, "1 dataset will run again, of which 1 had succeeded");
        assert_eq!((&state()["state"], &state()["jobs"][0]["status"]), (&json!("waiting"), &json!("waiting")));
        assert!(job.bucket.get(&end).is_none() && read() == before, "the files of the earlier run stay");
    }
    run_verb(&job.bucket, "cancel", &[&job.name]).ended_saying(0, "the results of the earlier run stay");
    let again = pipe("false");
    assert_eq!((again.status, again.text()), (0, String::new()), "nothing is left to do");
    assert_eq!((&state()["state"], read() == before), (&json!("success"), true));
    assert!(job.bucket.get(&end).is_some());
    // A retry that is not cancelled runs, and its records replace those of the earlier run.
    run_verb(&job.bucket, "retry", &[&job.name]);
    pipe("exit 3").ended_saying(1, "a.txt failed (exit 3) after ");
    assert_eq!((&state()["state"], &state()["jobs"][0]["status"]), (&json!("failed"), &json!("failed")));
}

#[test]
fn cancel_stops_a_job_that_prints_nothing_in_a_pipe_without_live() {
    let job = SubmittedJob::new("silent");
    let script = pipeline_script(&job.bucket.address(), "--once", "sleep 600").replace(" --live", "");
    let pipe = BackgroundPipe::start(job.folder.path(), &script);
    let certificate = job.key("logs/certificate.txt");
    wait_until("the job to run", Duration::from_secs(60), || {
        job.bucket.get(&certificate).is_some_and(|text| String::from_utf8_lossy(&text).contains("IN PROGRESS"))
    });
    let cancelled = run_verb(&job.bucket, "cancel", &[&job.name]);
    assert!(cancelled.stderr.contains(": the pipe stops 1 running job within"), "{}", cancelled.stderr);
    wait_for_cancelled_end(&job);
    drop(pipe);
}

#[test]
fn a_restarted_pipe_stops_a_job_cancelled_while_it_was_down() {
    let job = SubmittedJob::new("down");
    let pipe = job.start_pipe("sleep 600");
    job.wait_for_container();
    wait_until("the job to run", Duration::from_secs(60), || {
        !docker(&["ps", "-q", "--filter", &format!("label={}", job.label)]).is_empty()
    });
    drop(pipe);
    run_verb(&job.bucket, "cancel", &[&job.name]);
    let pipe = job.start_pipe("sleep 600");
    wait_for_cancelled_end(&job);
    drop(pipe);
}

#[test]
fn a_dataset_that_ended_before_its_submission_was_cancelled_keeps_its_record() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_two_datasets(&bucket, "1");
    let key = format!("lab/results/{id}/logs/x.npy.record.json");
    let job =
        json!({"id": id, "bucket": bucket.address(), "group": "lab", "dataset": 1, "datasets": 2, "label": "x.npy"});
    let container = json!({"id": "f00", "name": "x", "state": "exited", "status": "success", "exit_code": 0});
    bucket.put(&key, json!({"job": job, "container": container, "error": null}).to_string());
    run_verb(&bucket, "cancel", &[&id]).ok();
    let folder = tempfile::tempdir().unwrap();
    let script = format!("ncaas-submit watch {} --once --hold 0s | ncaas-sync pull", bucket.address());
    let records = pipe_in(folder.path(), &script, &[]).json();
    let error =
        |dataset: u64| records.iter().find(|record| record["job"]["dataset"] == dataset).unwrap()["error"].clone();
    assert_eq!((error(1), error(2)["kind"].clone()), (Value::Null, json!("cancelled")));
}

#[test]
fn cancel_reads_no_saved_records() {
    let bucket = with_inputs(TestBucket::s3("cancel"));
    let id = submit_two_datasets(&bucket, "1");
    let record = json!({"job": {"id": id, "dataset": 1}, "note": "x".repeat(1 << 20)}).to_string();
    bucket.put(&format!("lab/results/{id}/logs/x.npy.record.json"), record);
    let proxy = S3Proxy::new();
    let cancel = Run::tool("ncaas-submit").args(["cancel", &format!("{}/lab", bucket.address()), "1"]);
    assert_eq!(cancel.env("AWS_ENDPOINT_URL", &proxy.url).run().ok().json()[0]["state"], "cancelled");
    assert!(proxy.received.passed() < 1 << 18, "{} bytes were read", proxy.received.passed());
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
