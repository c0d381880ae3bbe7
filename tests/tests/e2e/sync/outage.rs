//! A bucket whose server is unreachable or busy for a while.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::bucket_job::BucketJob;
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::sync::{ncaas_sync, write_below};
use serde_json::json;
use tempfile::TempDir;

const FILES: usize = 400;

fn tree(home: &TempDir) -> String {
    let folder = home.path().join("tree");
    for n in 0..FILES {
        write_below(&folder, &format!("{n}.txt"), vec![b'x'; 20_000]);
    }
    folder.to_str().unwrap().to_owned()
}

/// Pushes files through a server whose `outage` lasts for twelve seconds.
fn push_through_outage(outage: fn(&S3Proxy) -> &AtomicBool) {
    let bucket = TestBucket::s3("outage");
    let (home, proxy) = (tempfile::tempdir().unwrap(), S3Proxy::new());
    proxy.sent.hold_after(1_000_000);
    let (folder, target) = (tree(&home), format!("{}/lab", bucket.address()));
    let push = ncaas_sync(&home, &["push", &folder, &target]).env("AWS_ENDPOINT_URL", &proxy.url);
    let child = push.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    proxy.begin_outage(outage(&proxy));
    std::thread::sleep(Duration::from_secs(12));
    outage(&proxy).store(false, Ordering::Relaxed);
    let ended = child.unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].ends_with("requests are retried for up to 5m 0s (`--patience`)"), "{stderr}");
    assert!(lines[1].contains("the bucket's server answers again after "), "{stderr}");
    assert_eq!(bucket.keys().iter().filter(|key| key.starts_with("lab/")).count(), FILES);
}

#[test]
fn push_continues_after_a_server_outage_of_twelve_seconds() {
    push_through_outage(|proxy| &proxy.outage.is_away);
}

#[test]
fn a_push_outlasts_a_server_that_is_busy_for_twelve_seconds() {
    push_through_outage(|proxy| &proxy.outage.is_busy);
}

#[test]
fn a_push_gives_up_in_few_lines_when_its_patience_has_run_out() {
    let bucket = TestBucket::s3("outage");
    let (home, proxy) = (tempfile::tempdir().unwrap(), S3Proxy::new());
    proxy.sent.hold_after(1_000_000);
    let (folder, target) = (tree(&home), format!("{}/lab", bucket.address()));
    let push = ncaas_sync(&home, &["push", &folder, &target, "--patience", "5s"]).env("AWS_ENDPOINT_URL", &proxy.url);
    let child = push.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    proxy.begin_outage(&proxy.outage.is_busy);
    let ended = child.unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() <= 5, "{stderr}");
    assert!(stderr.contains("more files failed with errors such as: cannot write"), "{stderr}");
    // The next run sends the rest.
    proxy.outage.is_busy.store(false, Ordering::Relaxed);
    ncaas_sync(&home, &["push", &folder, &target]).env("AWS_ENDPOINT_URL", &proxy.url).run().ok();
    assert_eq!(bucket.keys().len(), FILES);
}

#[test]
fn a_machine_that_was_cut_off_writes_nothing_after_another_has_taken_over() {
    const RESULTS: usize = 60;
    let jobs = BucketJob::in_bucket(TestBucket::s3("cut-off"));
    let proxy = S3Proxy::new();
    proxy.sent.hold_after(1_000_000);
    let mut record = jobs.ended(1, 1);
    record["job"]["claim"] = json!({"watcher": "w", "number": 3});
    let results = record["results"].as_array_mut().unwrap();
    results.clear();
    for n in 0..RESULTS {
        let path = format!("results/job__pca_1/process_results/{n:02}");
        fs::write(jobs.io_dir().join(&path), vec![b'x'; 200_000]).unwrap();
        results.push(json!({"path": path, "size": 200_000, "source": "/x"}));
    }
    let claim = |number: u64| {
        let claim = json!({"submission": "lab/submissions/submit.json", "watcher": "w", "owner": "host 2",
            "claimed_at": "2026-11-27T12:00:00Z", "attempt": 1, "number": number, "losses": 0});
        jobs.bucket.put("lab/results/job__pca_1/claim.json", claim.to_string());
    };
    claim(3);
    let push = ncaas_sync(&jobs.home, &["push", "-j", "1"]).dir(jobs.home.path());
    let mut push = push.env("AWS_ENDPOINT_URL", &proxy.url).into_command();
    let mut child = push.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(record.to_string().as_bytes()).unwrap();
    proxy.begin_outage(&proxy.outage.is_away);
    // Longer than a write continues without a confirmed claim.
    std::thread::sleep(Duration::from_secs(25));
    claim(4);
    let before = jobs.results_in_bucket();
    assert!(before.len() < RESULTS, "cut off in the middle: {before:?}");
    proxy.outage.is_away.store(false, Ordering::Relaxed);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("`job__pca_1` has been taken over by the watcher `host 2`"), "{stderr}");
    assert_eq!(jobs.results_in_bucket(), before);
}
