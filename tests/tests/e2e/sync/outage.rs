//! A bucket whose server is away or busy for a while.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::sync::{ncaas_sync, write_below};
use ncaas_tests::wait_until;
use tempfile::TempDir;

const FILES: usize = 400;

fn tree(home: &TempDir) -> String {
    let folder = home.path().join("tree");
    for n in 0..FILES {
        write_below(&folder, &format!("{n}.txt"), vec![b'x'; 20_000]);
    }
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_push_outlasts_a_server_that_is_away_for_twelve_seconds() {
    let bucket = TestBucket::s3("outage");
    let (home, proxy) = (tempfile::tempdir().unwrap(), S3Proxy::new());
    let (folder, target) = (tree(&home), format!("{}/lab", bucket.address()));
    for (name, state) in [("away", &proxy.outage.is_away), ("busy", &proxy.outage.is_busy)] {
        let target = format!("{target}/{name}");
        let push = ncaas_sync(&home, &["push", &folder, &target]).env("AWS_ENDPOINT_URL", &proxy.url);
        let before = proxy.sent.passed();
        let child = push.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        wait_until("files to be sent", Duration::from_secs(60), || proxy.sent.passed() > before + 1_000_000);
        state.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(12));
        state.store(false, Ordering::Relaxed);
        let ended = child.unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(lines[0].ends_with("requests are retried for up to 5m 0s (`--patience`)"), "{stderr}");
        assert!(lines[1].contains("the bucket's server answers again after "), "{stderr}");
        assert_eq!(bucket.keys().iter().filter(|key| key.starts_with(&format!("lab/{name}/"))).count(), FILES);
    }
}

#[test]
fn a_push_gives_up_in_few_lines_when_its_patience_has_run_out() {
    let bucket = TestBucket::s3("outage");
    let (home, proxy) = (tempfile::tempdir().unwrap(), S3Proxy::new());
    let (folder, target) = (tree(&home), format!("{}/lab", bucket.address()));
    let push = ncaas_sync(&home, &["push", &folder, &target, "--patience", "5s"]).env("AWS_ENDPOINT_URL", &proxy.url);
    let child = push.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    wait_until("files to be sent", Duration::from_secs(60), || proxy.sent.passed() > 1_000_000);
    proxy.outage.is_busy.store(true, Ordering::Relaxed);
    let ended = child.unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() <= 5, "{stderr}");
    assert!(stderr.contains("more files failed for the same reason"), "{stderr}");
    // The next run sends the rest.
    proxy.outage.is_busy.store(false, Ordering::Relaxed);
    ncaas_sync(&home, &["push", &folder, &target]).env("AWS_ENDPOINT_URL", &proxy.url).run().ok();
    assert_eq!(bucket.keys().len(), FILES);
}
