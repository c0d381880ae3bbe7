//! `ncaas-submit watch`: a watcher that was replaced tells the stages of its pipe, and jobs are run again a bounded
//! number of times.

use std::path::PathBuf;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{submit_one_dataset, watch_once, with_inputs};
use ncaas_tests::wait_until;
use ncaas_tests::watch_process::{SOON, WatchProcess};
use serde_json::{Value, json};

/// The folder of a watcher's lease on this machine.
fn lease_folder(watching: &WatchProcess) -> PathBuf {
    let records = watching.records.lock().unwrap();
    let watcher = records[0]["job"]["claim"]["watcher"].as_str().unwrap().to_owned();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let leases = match runtime {
        Some(runtime) => runtime.join("ncaas/leases"),
        None => std::env::temp_dir().join(format!("ncaas-{user}/leases")),
    };
    leases.join(watcher)
}

fn stopped_watcher_is_replaced(bucket: TestBucket) {
    let bucket = with_inputs(bucket);
    let arguments = ["--poll", "200ms"];
    let first = WatchProcess::start(&bucket, &arguments);
    let id = submit_one_dataset(&bucket, "1");
    first.wait_for(&id);
    let lease = lease_folder(&first);
    let read_lease = || -> Value { serde_json::from_slice(&std::fs::read(lease.join("lease.json")).unwrap()).unwrap() };
    assert!(read_lease()["superseded"].as_object().unwrap().is_empty());
    first.signal("-STOP");
    let second = WatchProcess::start(&bucket, &arguments);
    second.wait_for_within(&id, Duration::from_secs(60));
    assert_eq!(second.records.lock().unwrap()[0]["job"]["claim"]["number"], json!(2));
    first.signal("-CONT");
    wait_until("the lost claim in the lease", SOON, || read_lease()["superseded"].get(format!("lab/{id}")).is_some());
    assert_eq!(read_lease()["superseded"][format!("lab/{id}")], json!({"number": 1, "elsewhere": false}));
    assert_eq!(first.ids(), std::slice::from_ref(&id), "it is not emitted again");
    assert!(first.end().contains(&format!("`{id}` was taken over by another watcher")));
}

#[test]
fn a_watcher_of_a_directory_that_slept_learns_that_it_was_replaced() {
    stopped_watcher_is_replaced(TestBucket::directory("pca"));
}

#[test]
fn a_watcher_of_s3_that_slept_learns_that_it_was_replaced() {
    stopped_watcher_is_replaced(TestBucket::s3("slept"));
}

#[test]
fn a_record_is_emitted_again_when_a_later_stage_asks_for_it() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let watching = WatchProcess::start(&bucket, &["--retries", "1"]);
    let id = submit_one_dataset(&bucket, "1");
    watching.wait_for(&id);
    let request = |kind: &str, has_results: bool| {
        let request = json!({"group": "lab", "id": id, "dataset": 1, "kind": kind, "message": "it broke",
            "has_results": has_results});
        let folder = lease_folder(&watching).join("retry");
        std::fs::write(folder.join("new"), request.to_string()).unwrap();
        std::fs::rename(folder.join("new"), folder.join("1.json")).unwrap();
    };
    let emitted = |count: usize| {
        wait_until("the record once more", SOON, || watching.ids().len() == count);
        watching.records.lock().unwrap()[count - 1].clone()
    };
    request("disk-full", false);
    assert!(emitted(2)["error"].is_null());
    request("disk-full", false);
    let given_up = emitted(3);
    assert_eq!(given_up["error"]["kind"], "lost", "{given_up}");
    assert!(given_up["error"]["message"].as_str().unwrap().ends_with("it broke"));
    request("bucket-unreachable", false);
    assert!(emitted(4)["error"].is_null(), "the bucket's failures are retried without a limit");
    request("disk-full", true);
    assert!(emitted(5)["error"].is_null(), "a job that has ended is not lost for want of space");
}

#[test]
fn a_submission_whose_folder_was_deleted_is_claimed_with_a_higher_number() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let watching = WatchProcess::start(&bucket, &["--poll", "200ms"]);
    let id = submit_one_dataset(&bucket, "1");
    watching.wait_for(&id);
    std::fs::remove_dir_all(PathBuf::from(bucket.address()).join("lab/results").join(&id)).unwrap();
    wait_until("the record once more", SOON, || watching.ids().len() == 2);
    let number = watching.records.lock().unwrap()[1]["job"]["claim"]["number"].clone();
    // The lease says that number 1 is superseded.
    assert_eq!(number, json!(2));
}

fn losses_are_bounded(bucket: &TestBucket) {
    let id = submit_one_dataset(bucket, "1");
    let claim = |losses: u32| {
        let claim = json!({"submission": "lab/submissions/1_submit.json", "watcher": "0123456789abcdef", "owner": "gone:1",
            "host": "gone", "claimed_at": "2026-11-22T10:24:55Z", "number": 7, "losses": losses});
        bucket.put(&format!("lab/results/{id}/claim.json"), claim.to_string());
    };
    claim(4);
    let record = &watch_once(bucket).ok().json()[0];
    assert_eq!((&record["error"], &record["job"]["claim"]["number"]), (&Value::Null, &json!(8)));
    claim(5);
    let lost = watch_once(bucket);
    assert_eq!((lost.status, lost.json()[0]["error"]["kind"].clone()), (1, json!("lost")));
    assert!(lost.stderr.contains("was lost 6 times with the machine that ran it"), "{}", lost.stderr);
}

#[test]
fn a_submission_in_a_directory_is_given_up_after_repeated_losses() {
    losses_are_bounded(&with_inputs(TestBucket::directory("pca")));
}

#[test]
fn a_submission_on_s3_is_given_up_after_repeated_losses() {
    losses_are_bounded(&with_inputs(TestBucket::s3("losses")));
}
