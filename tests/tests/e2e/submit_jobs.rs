//! Submissions after they have been handed in: how they stand, waiting for them, cancelling them, trying them again.

use std::process::Stdio;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::{Ran, Run};
use serde_json::{Value, json};

fn filled(bucket: TestBucket) -> TestBucket {
    bucket.put("lab/inputs/x.npy", "x");
    bucket.put("lab/inputs/y.npy", "y");
    bucket.put("lab/configs/c.yaml", "n: 1\n");
    bucket
}

fn hand_in(bucket: &TestBucket, timestamp: &str) -> String {
    let submission = json!({"dataname": ["lab/inputs/x.npy", "lab/inputs/y.npy"], "configname": "lab/configs/c.yaml",
        "timestamp": timestamp});
    bucket.put(&format!("lab/submissions/{timestamp}_submit.json"), submission.to_string());
    format!("job__{}_{timestamp}", bucket.analysis())
}

fn verb(bucket: &TestBucket, verb: &str, jobs: &[&str]) -> Ran {
    Run::tool("ncaas-submit").args([verb, &format!("{}/lab", bucket.address())]).args(jobs).run()
}

fn once(bucket: &TestBucket) -> Vec<Value> {
    Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run().json()
}

fn ls(bucket: &TestBucket, arguments: &[&str]) -> Vec<Value> {
    Run::tool("ncaas-submit").args(["ls", &bucket.address()]).args(arguments).run().ok().json()
}

/// What the later stages of the pipe leave in the bucket when a dataset's job has ended.
fn end_dataset(bucket: &TestBucket, record: &Value, status: &str) {
    let mut saved = record.clone();
    saved["io_dir"] = "/elsewhere/lab".into();
    saved["container"] = json!({"id": "1", "name": "n", "state": "exited", "status": status, "exit_code": 0});
    let job = format!("lab/results/{}", record["job"]["id"].as_str().unwrap());
    let label = record["job"]["label"].as_str().unwrap();
    bucket.put(&format!("{job}/logs/{label}.record.json"), format!("{saved}\n"));
    if record["job"]["dataset"] == record["job"]["datasets"] {
        bucket.put(&format!("{job}/process_results/end.txt"), "end of analysis\n");
    }
}

fn a_submission_from_its_beginning_to_its_end(bucket: &TestBucket) {
    let id = hand_in(bucket, "1");
    assert_eq!(ls(bucket, &[])[0]["state"], "waiting");
    let records = once(bucket);
    assert_eq!(records.len(), 2);
    let claimed = &ls(bucket, &["--state", "claimed"])[0];
    assert!(claimed["owner"].as_str().unwrap().contains(':') && claimed["claimed_at"].is_string(), "{claimed}");
    bucket.put(
        &format!("lab/results/{id}/logs/certificate.txt"),
        "PER ENVIRONMENT MONITORING:\n================\n\
         DATANAME: lab/inputs/x.npy | STATUS: IN PROGRESS | TIME: 2026_11_22_10_24_55 | LAST COMMAND: fitting | CPU_USAGE: 97.2\n\
         DATANAME: lab/inputs/y.npy | STATUS: INITIALIZING | TIME: 2026_11_22_10_24_55 | LAST COMMAND: N/A | CPU_USAGE: N/A\n\
         ================\n",
    );
    end_dataset(bucket, &records[0], "success");
    let running = &ls(bucket, &["--group", "lab"])[0];
    assert_eq!((&running["state"], &running["datasets_done"]), (&json!("running"), &json!(1)));
    let statuses: Vec<&Value> = running["jobs"].as_array().unwrap().iter().map(|job| &job["status"]).collect();
    assert_eq!(statuses, ["success", "initializing"]);

    let mut command =
        Run::tool("ncaas-submit").args(["wait", &format!("{}/lab", bucket.address()), "1"]).into_command();
    let waiting = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    end_dataset(bucket, &records[1], "failed");
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(1), "one of them failed");
    let told = String::from_utf8(waited.stderr).unwrap();
    assert!(told.contains("`lab/inputs/x.npy`: in progress (fitting)"), "{told}");
    let ended: Vec<Value> =
        waited.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|record| record.get("io_dir").is_none()), "that is another machine's");
    assert_eq!(ls(bucket, &["--state", "failed"]).len(), 1);
    assert_eq!(ls(bucket, &["--state", "success", "--state", "waiting"]).len(), 0);
    verb(bucket, "cancel", &["1"]).ended_saying(1, "has ended already");
}

#[test]
fn ls_and_wait_tell_how_a_submission_to_a_directory_stands() {
    a_submission_from_its_beginning_to_its_end(&filled(TestBucket::directory("pca")));
}

#[test]
fn ls_and_wait_tell_how_a_submission_to_s3_stands() {
    a_submission_from_its_beginning_to_its_end(&filled(TestBucket::s3("ls")));
}

#[test]
fn what_is_cancelled_is_not_run_and_what_is_tried_again_is() {
    let bucket = filled(TestBucket::directory("pca"));
    let id = hand_in(&bucket, "1");
    verb(&bucket, "cancel", &[&id]).ok();
    verb(&bucket, "cancel", &["1"]).ok();
    assert_eq!(ls(&bucket, &[])[0]["state"], "cancelled");
    let records = once(&bucket);
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record["error"]["kind"], "cancelled", "{record}");
    }
    let retried = Run::tool("ncaas-submit").args(["retry"]).stdin(format!("{}\n", ls(&bucket, &[])[0])).run().ok();
    assert_eq!(retried.json()[0]["state"], "waiting");
    let records = once(&bucket);
    assert_eq!((&records[0]["error"], &records[0]["job"]["attempt"]), (&Value::Null, &json!(2)));
    verb(&bucket, "retry", &["1"]).ended_saying(1, "`job__pca_1` has not ended");
}

#[test]
fn a_refused_submission_is_tried_again_when_what_it_lacked_is_there() {
    let bucket = filled(TestBucket::directory("pca"));
    bucket.put(
        "lab/submissions/1_submit.json",
        json!({"dataname": "lab/inputs/late.npy", "configname": "lab/configs/c.yaml", "timestamp": "1"}).to_string(),
    );
    let refused = once(&bucket);
    assert_eq!(refused[0]["error"]["kind"], "bad-submission");
    bucket.put("lab/results/job__pca_1/logs/late.npy.record.json", format!("{}\n", refused[0]));
    bucket.put("lab/results/job__pca_1/process_results/end.txt", "");
    assert_eq!(ls(&bucket, &[])[0]["state"], "refused");
    assert_eq!(once(&bucket).len(), 0);
    bucket.put("lab/inputs/late.npy", "late");
    verb(&bucket, "retry", &["1"]).ok();
    let again = once(&bucket);
    assert_eq!((again.len(), &again[0]["error"]), (1, &Value::Null));
    verb(&bucket, "retry", &["nowhere"]).ended_saying(1, "there is nothing to retry");
}

#[test]
fn results_that_go_elsewhere_end_a_submission_too() {
    let bucket = filled(TestBucket::s3("path"));
    let path = format!("{}/lab/elsewhere", bucket.address());
    let send =
        ["send", &format!("{}/lab", bucket.address()), "--data", "lab/inputs/x.npy", "--config", "lab/configs/c.yaml"];
    let sent = Run::tool("ncaas-submit").args(send).args(["--result-path", &path, "--timestamp", "1"]).run().ok();
    assert_eq!(sent.record().resultpath.unwrap(), path);
    let record = &once(&bucket)[0];
    assert_eq!(record["resultpath"], path);
    let job = format!("lab/elsewhere/{}", record["job"]["id"].as_str().unwrap());
    bucket.put(&format!("{job}/logs/x.npy.record.json"), format!("{record}\n"));
    bucket.put(&format!("{job}/process_results/end.txt"), "");
    let waited = verb(&bucket, "wait", &["1"]).ok();
    assert_eq!(waited.record().resultpath.unwrap(), path);
    assert_eq!(once(&bucket).len(), 0);
}
