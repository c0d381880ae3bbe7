//! A bucket of each kind, empty at the start of a test and gone at its end, even if the test fails.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key, ObjectInfo, Page};
use ncaas_core::failure::Result;
use ncaas_core::folder::Folder;
use ncaas_core::transfer::{Transfer, Transferred};

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Runs a test on a directory and on a server.
pub(crate) async fn on_both(test: impl AsyncFn(Bucket)) {
    on_directory(&test).await;
    on_server(&test).await;
}

pub(crate) async fn on_directory(test: impl AsyncFn(Bucket)) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("pca");
    test(Bucket::create(path.to_str().unwrap()).await.unwrap()).await;
}

pub(crate) async fn on_server(test: impl AsyncFn(Bucket)) {
    let bucket = Bucket::create(&format!("s3://{}", unique_name())).await.unwrap();
    let outcome = AssertUnwindSafe(test(bucket.clone())).catch_unwind().await;
    remove(&bucket).await;
    if let Err(failed) = outcome {
        resume_unwind(failed);
    }
}

pub(crate) fn unique_name() -> String {
    assert!(
        std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty()),
        "AWS_ENDPOINT_URL must name a server for these tests; `make test` starts one"
    );
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("test-{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn remove(bucket: &Bucket) {
    let (client, name) = bucket.as_s3().unwrap();
    loop {
        let page = client.list_objects_v2().bucket(name).send().await.unwrap();
        for object in page.contents() {
            client.delete_object().bucket(name).key(object.key().unwrap()).send().await.unwrap();
        }
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    client.delete_bucket().bucket(name).send().await.unwrap();
}

/// All pages of a listing as one.
pub(crate) async fn everything(bucket: &Bucket, prefix: &str) -> Page {
    let mut all = Page::default();
    let mut listing = bucket.list(prefix, None);
    while let Some(page) = listing.next_page().await.unwrap() {
        all.entries.extend(page.entries);
        all.unusable.extend(page.unusable);
    }
    all
}

pub(crate) fn keys_of(entries: &[ObjectInfo]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

/// Uploads a local file over what may be under the key.
pub(crate) async fn upload(bucket: &Bucket, path: &Path, key: &Key) -> Result<Transferred> {
    let (transfer, name) = transfer(bucket, path);
    transfer.upload_if_changed(name, key, None, None, None).await
}

/// Downloads an object, or what is thought to be one, into a local file.
pub(crate) async fn download(bucket: &Bucket, key: &Key, path: &Path) -> Result<Transferred> {
    let presumed = ObjectInfo {
        key: key.clone(),
        size: 6,
        modified: Timestamp::UNIX_EPOCH,
        etag: None,
        sha256: None,
        crc64nvme: None,
        origin_modified: None,
    };
    let entry = bucket.head(key).await.ok().flatten().unwrap_or(presumed);
    let (transfer, name) = transfer(bucket, path);
    transfer.download_new(&entry, name).await
}

fn transfer<'p>(bucket: &Bucket, path: &'p Path) -> (Transfer, &'p Path) {
    let folder = Folder::open(path.parent().unwrap()).unwrap();
    (Transfer::without_index(bucket.clone(), folder), Path::new(path.file_name().unwrap()))
}
