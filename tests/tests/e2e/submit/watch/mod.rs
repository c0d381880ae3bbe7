//! `ncaas-submit watch`: which submissions it emits, and when.

mod backlog;
mod claims;
mod fencing;
mod refusals;
mod several_machines;

use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{put_end_file, submit_file, submit_one_dataset, with_inputs};
use ncaas_tests::watch_process::WatchProcess;
use ncaas_tests::{Run, wait_until};

#[test]
fn finished_and_running_submissions_are_not_emitted_again() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let old = submit_one_dataset(&bucket, "run elsewhere");
    put_end_file(&bucket, &old);
    let id = submit_one_dataset(&bucket, "1");
    let watching = WatchProcess::start(&bucket, &[]);
    watching.wait_for(&id);
    // Written anew with the same content, and told of once more.
    submit_one_dataset(&bucket, "1");
    let next = submit_one_dataset(&bucket, "2");
    watching.wait_for(&next);
    assert_eq!(watching.ids(), [id, next]);
}

#[test]
fn watch_once_holds_its_claims_for_the_given_duration() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let once =
        |hold: &str| Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once", "--hold", hold]).run();
    submit_one_dataset(&bucket, "1");
    assert_eq!(once("0s").ok().records().len(), 1);
    assert_eq!(once("1h").ok().records().len(), 1, "nothing held it");
    let left =
        once("1h").ended_saying(0, "skipped 1 submission: other watchers hold claims on them that have not expired");
    assert_eq!(left.text(), "", "the one before holds it");
    let target = format!("{}/lab", bucket.address());
    Run::tool("ncaas-submit").args(["retry", &target, "1", "--force"]).run().ok();
    assert_eq!(once("1h").ok().records().len(), 1, "it was taken away from that one");
}

#[test]
fn two_submissions_with_the_same_timestamp_get_distinct_job_folders() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put("lab/submissions/a_submit.json", submit_file("1"));
    bucket.put("lab/submissions/b_submit.json", submit_file("1"));
    let ran = Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run();
    let mut records = ran.records();
    records.sort_by_key(|record| record.error.is_some());
    assert_eq!(records.len(), 2);
    let ids: Vec<String> = records.iter().map(|record| record.job.clone().unwrap().id).collect();
    assert_eq!(ids[0], "job__pca_1");
    assert_ne!(ids[1], ids[0]);
    assert!(records[1].error.as_ref().unwrap().message.contains("`timestamp` is already used by the submission"));
}

#[test]
fn a_submit_file_is_read_only_when_its_writer_has_closed_it() {
    use std::io::Write;
    let bucket = with_inputs(TestBucket::directory("pca"));
    let content = submit_file("slow");
    let (start, rest) = content.split_at(content.len() / 2);
    let path = std::path::PathBuf::from(bucket.address()).join("lab/submissions/slow_submit.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(start.as_bytes()).unwrap();
    // Old enough not to be taken for one that was written just now; what counts is that it is open.
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let watching = WatchProcess::start(&bucket, &[]);
    let other = submit_one_dataset(&bucket, "other");
    watching.wait_for(&other);
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    watching.wait_for("job__pca_slow");
    assert!(watching.records.lock().unwrap().iter().all(|record| record["error"].is_null()));
}

#[test]
fn new_groups_and_folders_are_detected() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let watching = WatchProcess::start(&bucket, &[]);
    watching.wait_for(&submit_one_dataset(&bucket, "1"));
    bucket.put("new/inputs/x.npy", "x");
    bucket.put("new/configs/c.yaml", "n: 1\n");
    bucket.put("new/submissions/2024/submit.json", submit_file("2").replace("lab/", "new/"));
    watching.wait_for("job__pca_2");
    let only = WatchProcess::start(&bucket, &["--group", "new"]);
    let theirs = submit_one_dataset(&bucket, "3");
    watching.wait_for(&theirs);
    assert!(only.ids().is_empty());
}

#[test]
fn a_watch_continues_after_its_bucket_was_unavailable() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let root = std::path::PathBuf::from(bucket.address());
    let away = root.with_file_name("away");
    let watching = WatchProcess::start(&bucket, &[]);
    watching.wait_for(&submit_one_dataset(&bucket, "1"));
    std::fs::rename(&root, &away).unwrap();
    std::fs::write(away.join("lab/submissions/2_submit.json"), submit_file("2")).unwrap();
    // Gone for as long as it takes the watch to notice, at its next listing.
    std::thread::sleep(Duration::from_secs(3));
    std::fs::rename(&away, &root).unwrap();
    let missed = || watching.ids().contains(&"job__pca_2".to_owned());
    wait_until("what came meanwhile", Duration::from_secs(60), missed);
}

#[test]
fn a_watch_ends_quietly_when_its_reader_closes_the_pipe() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let mut command = Run::tool("ncaas-submit").args(["watch", &bucket.address()]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_missing_bucket_is_reported_at_once() {
    Run::tool("ncaas-submit")
        .args(["watch", "/nowhere/pca"])
        .run()
        .ended_saying(1, "bucket `/nowhere/pca` does not exist");
    Run::tool("ncaas-submit")
        .args(["watch", "s3://no-such-bucket-here"])
        .run()
        .ended_saying(1, "the bucket does not exist");
    Run::tool("ncaas-submit")
        .args(["watch", "s3://any"])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .run()
        .ended_saying(3, "connection refused");
}
