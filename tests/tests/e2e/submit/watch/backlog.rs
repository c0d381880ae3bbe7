//! `ncaas-submit watch`: several watchers share a backlog, and no group delays another one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{put_end_file, put_submit_file, submit_one_dataset, watch_once, with_inputs};
use ncaas_tests::wait_until;
use ncaas_tests::watch_process::{SOON, WatchProcess};
use serde_json::{Value, json};

fn at_most_two(bucket: TestBucket) {
    let bucket = with_inputs(bucket);
    // The names sort against the times. S3 has times of a second.
    let pause = if bucket.address().starts_with("s3://") { 1100 } else { 20 };
    let ids: Vec<String> = ["d", "c", "b", "a"]
        .into_iter()
        .map(|name| {
            std::thread::sleep(Duration::from_millis(pause));
            submit_one_dataset(&bucket, name)
        })
        .collect();
    let watching = WatchProcess::start(&bucket, &["--at-most", "2", "--poll", "200ms"]);
    for ended in 0..3 {
        watching.wait_for(&ids[ended + 1]);
        assert_eq!(watching.ids(), ids[..ended + 2], "two are open, the oldest first");
        put_end_file(&bucket, &ids[ended]);
    }
}

#[test]
fn a_watcher_of_a_directory_claims_the_oldest_first_and_no_more_than_its_limit() {
    at_most_two(TestBucket::directory("pca"));
}

#[test]
fn a_watcher_of_s3_claims_the_oldest_first_and_no_more_than_its_limit() {
    at_most_two(TestBucket::s3("limit"));
}

/// A watcher with a pipe that runs two jobs at once, each for half a second.
fn start_machine(bucket: &Arc<TestBucket>, ended: &Arc<AtomicUsize>) -> WatchProcess {
    let (sender, receiver) = mpsc::channel::<String>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..2 {
        let (bucket, ended, receiver) = (Arc::clone(bucket), Arc::clone(ended), Arc::clone(&receiver));
        std::thread::spawn(move || {
            loop {
                let Ok(id) = receiver.lock().unwrap().recv() else { return };
                std::thread::sleep(Duration::from_millis(500));
                put_end_file(&bucket, &id);
                ended.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    WatchProcess::start_with(&Arc::clone(bucket), &["--at-most", "4"], move |record| {
        sender.send(record["job"]["id"].as_str().unwrap().to_owned()).unwrap();
    })
}

#[test]
fn three_watchers_share_a_backlog() {
    let bucket = Arc::new(with_inputs(TestBucket::directory("pca")));
    for number in 0..60 {
        submit_one_dataset(&bucket, &format!("{number:02}"));
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let machines: Vec<WatchProcess> = (0..3).map(|_| start_machine(&bucket, &ended)).collect();
    wait_until("every job's end", Duration::from_secs(90), || ended.load(Ordering::Relaxed) == 60);
    let shares: Vec<usize> = machines.iter().map(|machine| machine.ids().len()).collect();
    assert!(shares.iter().sum::<usize>() == 60 && shares.iter().all(|share| *share >= 12), "{shares:?}");
}

fn absent_datasets_delay_no_other_group(bucket: TestBucket) {
    let bucket = with_inputs(bucket);
    let names: Vec<String> = (0..10_000).map(|number| format!("lab/inputs/{number}")).collect();
    put_submit_file(&bucket, "1", &json!({"dataname": names, "configname": "lab/configs/c.yaml", "timestamp": "many"}));
    bucket.put("b/configs/c.yaml", "n: 1\n");
    bucket.put("b/inputs/x.npy", "x");
    let submission = json!({"dataname": "b/inputs/x.npy", "configname": "b/configs/c.yaml", "timestamp": "1"});
    let watching = WatchProcess::start(&bucket, &["--poll", "200ms"]);
    let refused = format!("job__{}_many", bucket.analysis());
    watching.wait_for_within(&refused, SOON);
    bucket.put("b/submissions/1_submit.json", submission.to_string());
    watching.wait_for_within(&format!("job__{}_1", bucket.analysis()), SOON);
    let records = watching.records.lock().unwrap();
    let message = records[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("`lab/inputs/0` does not exist"), "{message}");
    assert!(message.contains("not checked: 9980 more datasets") && message.len() < 4000, "{message}");
    assert!(!bucket.keys().iter().any(|key| key.ends_with("_STATUS.txt") && key.contains("many")));
}

#[test]
fn ten_thousand_absent_datasets_in_a_directory_delay_no_other_group() {
    absent_datasets_delay_no_other_group(TestBucket::directory("pca"));
}

#[test]
fn ten_thousand_absent_datasets_on_s3_delay_no_other_group() {
    absent_datasets_delay_no_other_group(TestBucket::s3("absent"));
}

fn claims_have_a_certificate(bucket: TestBucket) {
    let bucket = with_inputs(bucket);
    put_submit_file(
        &bucket,
        "1",
        &json!({"dataname": ["lab/inputs/x.npy", "lab/inputs/y.npy"], "configname": "lab/configs/c.yaml", "timestamp": "1"}),
    );
    watch_once(&bucket).ok();
    let logs = format!("lab/results/job__{}_1/logs", bucket.analysis());
    let certificate = bucket.text(&format!("{logs}/certificate.txt"));
    let lines: Vec<&str> = certificate.lines().collect();
    assert_eq!((lines[1], lines[4]), ("================", "================"), "{certificate}");
    for (line, name) in [(lines[2], "x.npy"), (lines[3], "y.npy")] {
        assert!(line.starts_with(&format!("DATANAME: lab/inputs/{name} | STATUS: INITIALIZING | ")), "{line}");
        let status: Value =
            serde_json::from_str(&bucket.text(&format!("{logs}/DATASET_NAME:{name}_STATUS.txt"))).unwrap();
        assert_eq!(
            (&status["status"], &status["input"]),
            (&json!("INITIALIZING"), &json!(format!("lab/inputs/{name}")))
        );
    }
    assert!(certificate.contains("claimed it as"), "{certificate}");
}

#[test]
fn a_claimed_submission_in_a_directory_has_a_certificate_and_status_files() {
    claims_have_a_certificate(TestBucket::directory("pca"));
}

#[test]
fn a_claimed_submission_on_s3_has_a_certificate_and_status_files() {
    claims_have_a_certificate(TestBucket::s3("initial"));
}
