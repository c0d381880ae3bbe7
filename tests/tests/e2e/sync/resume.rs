//! Interrupted transfers resume in the next process and send only the missing parts.

use std::sync::atomic::Ordering;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::s3_proxy::{S3Proxy, kill_transfer_at};
use ncaas_tests::sync::ncaas_sync;

/// Many more parts than are on their way at once: of those, each may be cut off.
const SIZE: u64 = 72_000_000;

const INTERRUPTED_AT: u64 = 64_000_000;

#[test]
fn killed_uploads_and_downloads_resume() {
    let bucket = TestBucket::s3("resume");
    let home = tempfile::tempdir().unwrap();
    let proxy = S3Proxy::new();
    let folder = home.path().join("tree");
    std::fs::create_dir(&folder).unwrap();
    let content: Vec<u8> = (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.join("large"), &content).unwrap();
    let target = format!("{}/lab", bucket.address());
    let push = || ncaas_sync(&home, &["push", folder.to_str().unwrap(), &target]).env("AWS_ENDPOINT_URL", &proxy.url);

    kill_transfer_at(push(), &proxy.sent, INTERRUPTED_AT);
    let uploads = ncaas_sync(&home, &["uploads", &target]).run().ok().json();
    assert_eq!(uploads.len(), 1);
    let none = ncaas_sync(&home, &["uploads", &target, "--older-than", "1h", "--drop"]).run().ok();
    assert_eq!(none.text(), "", "nothing is that old");
    push().run().ok();
    let sent = proxy.sent.passed();
    // A server may keep a part that came in part: it does not count.
    assert!(sent < SIZE - (16 << 20), "{sent} bytes went, though {uploads:?} was there");
    assert_eq!(bucket.get("lab/large").unwrap(), content);
    assert_eq!(ncaas_sync(&home, &["uploads", &target]).run().ok().text(), "", "none is left");

    let io_dir = home.path().join("io");
    let pull = || {
        ncaas_sync(&home, &["pull", &target, "--io-dir", io_dir.to_str().unwrap()]).env("AWS_ENDPOINT_URL", &proxy.url)
    };
    proxy.received.passed.store(0, Ordering::Relaxed);
    kill_transfer_at(pull(), &proxy.received, SIZE * 5 / 6);
    assert!(!io_dir.join("lab/large").exists(), "no file has its name before it is whole");
    pull().run().ok();
    let received = proxy.received.passed();
    // Ranges that are under way at once are lost, as far as they had come.
    assert!(received < SIZE * 2 / 3, "{received} bytes came, though five sixths of {SIZE} had come before");
    assert_eq!(std::fs::read(io_dir.join("lab/large")).unwrap(), content);
    assert_eq!(ncaas_tests::bucket::files_below(&io_dir), ["lab/large"]);
}

#[test]
fn a_download_resumes_each_time_the_server_breaks_the_connection() {
    let bucket = TestBucket::s3("resume");
    let home = tempfile::tempdir().unwrap();
    let proxy = S3Proxy::new();
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bucket.put("lab/large", &content);
    proxy.received.breaks.store(3 << 20, Ordering::Relaxed);
    let (target, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let pull = ncaas_sync(&home, &["pull", &target, "--io-dir", io_dir.to_str().unwrap()]);
    pull.env("AWS_ENDPOINT_URL", &proxy.url).run().ok();
    assert_eq!(std::fs::read(io_dir.join("lab/large")).unwrap(), content);
    // What was on its way when a connection broke came twice.
    let received = proxy.received.passed();
    assert!(received < 30_000_000, "{received} bytes came of {}", content.len());
}
