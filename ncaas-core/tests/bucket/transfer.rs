//! Transfers: whole, of every size around the size of a part, and with their SHA-256.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;
use sha2::{Digest, Sha256};

use crate::fixture::{download, everything, key, on_both, on_directory, on_server, upload};

const PART: usize = 8 << 20;

/// Bytes that repeat in no part of a file.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn files_of_all_sizes_are_downloaded_as_they_were_uploaded() {
    on_both(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        for size in [0, 1, PART - 1, PART, PART + 1, 4 * PART + 12345] {
            let bytes = content(size);
            fs::write(&from, &bytes).unwrap();
            let key = key(&format!("lab/inputs/file of {size}"));
            let sent = upload(&bucket, &from, &key).await.unwrap();
            assert_eq!((sent.size, sent.sha256.as_ref()), (size as u64, Some(&sha256(&bytes))));
            let head = bucket.head(&key).await.unwrap().unwrap();
            assert_eq!(head.size, size as u64);
            if bucket.as_s3().is_some() {
                assert_eq!(head.sha256, sent.sha256);
            }
            let got = download(&bucket, &key, &to).await.unwrap();
            assert_eq!(got, sent);
            assert!(fs::read(&to).unwrap() == bytes);
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "no temporary file is left");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_not_stored() {
    on_both(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        fs::write(&path, content(3 * PART)).unwrap();
        let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let growing = async {
            for _ in 0..2000 {
                log.write_all(b"one more line\n").unwrap();
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let key = key("lab/log");
        let outcome = tokio::select! {
            outcome = upload(&bucket, &path, &key) => outcome,
            () = growing => panic!("the upload outlasted the writer"),
        };
        assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
        assert_eq!(bucket.head(&key).await.unwrap(), None);
        assert!(everything(&bucket, "lab/l").await.entries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_fails_leaves_no_parts_on_the_server() {
    on_server(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, content(2 * PART)).unwrap();
        let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let (client, name) = bucket.as_s3().unwrap();
        let writing = async {
            // Once the upload has begun, its source is another.
            loop {
                let uploads = client.list_multipart_uploads().bucket(name).send().await.unwrap();
                if !uploads.uploads().is_empty() {
                    break writer.write_all(b"more").unwrap();
                }
            }
        };
        let key = key("lab/file");
        let (outcome, ()) = tokio::join!(upload(&bucket, &path, &key), writing);
        assert_eq!(outcome.unwrap_err().kind, Kind::ChecksumMismatch);
        let uploads = client.list_multipart_uploads().bucket(name).send().await.unwrap();
        assert!(uploads.uploads().is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_regular_files_are_uploaded() {
    on_both(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [fifo.as_path(), temp.path()] {
            assert_eq!(upload(&bucket, path, &key("lab/a")).await.unwrap_err().kind, Kind::UnsafePath);
        }
        let absent = upload(&bucket, &temp.path().join("none"), &key("lab/a")).await.unwrap_err();
        assert_eq!(absent.kind, Kind::FileNotFound);
    })
    .await;
}

#[tokio::test]
async fn content_that_differs_from_its_stored_checksum_is_refused() {
    on_server(async |bucket: Bucket| {
        let (client, name) = bucket.as_s3().unwrap();
        let put = client.put_object().bucket(name).key("lab/a").metadata("sha256", sha256(b"other"));
        put.body(b"content".to_vec().into()).send().await.unwrap();
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("a");
        fs::write(&to, "before").unwrap();
        let failure = download(&bucket, &key("lab/a"), &to).await.unwrap_err();
        assert_eq!(failure.kind, Kind::ChecksumMismatch);
        assert_eq!(fs::read(&to).unwrap(), b"before");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_upload_stops_and_leaves_nothing() {
    on_directory(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let large = temp.path().join("large");
        fs::File::create(&large).unwrap().set_len(16 << 30).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), upload(&bucket, &large, &key("lab/large"))).await;
        assert!(waited.is_err(), "16 GiB take longer");
        let folder = Path::new(bucket.address()).join("lab");
        let started = Instant::now();
        while fs::read_dir(&folder).unwrap().count() > 0 {
            assert!(started.elapsed() < Duration::from_secs(5), "the part is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
