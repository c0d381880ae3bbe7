//! Metadata of objects: checksums for the server, media types, modification times.

use std::fs;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::{ChecksumMode, StorageClass};
use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{download, everything, key, on_both, on_server, upload};

/// More than one part.
const LARGE: usize = 20 << 20;

#[tokio::test]
async fn each_write_carries_a_checksum_for_the_server() {
    on_server(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        for size in [10, LARGE] {
            fs::write(&path, vec![7; size]).unwrap();
            upload(&bucket, &path, &key(&format!("lab/{size}"))).await.unwrap();
        }
        bucket.put(&key("lab/put"), "x").await.unwrap();
        bucket.put_new(&key("lab/new"), "x").await.unwrap();
        let (client, name) = bucket.as_s3().unwrap();
        for text in ["lab/10", &format!("lab/{LARGE}"), "lab/put", "lab/new"] {
            let head = client.head_object().bucket(name).key(text).checksum_mode(ChecksumMode::Enabled);
            assert!(head.send().await.unwrap().checksum_crc32().is_some(), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn objects_have_the_media_type_of_their_name() {
    on_server(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let (small, large) = (temp.path().join("small"), temp.path().join("large"));
        fs::write(&small, "x").unwrap();
        fs::write(&large, vec![7; LARGE]).unwrap();
        let (client, name) = bucket.as_s3().unwrap();
        let content_type = async |text: &str| {
            client.head_object().bucket(name).key(text).send().await.unwrap().content_type().map(str::to_owned)
        };
        for (text, expected) in [
            ("lab/report.html", "text/html"),
            ("lab/figure.png", "image/png"),
            ("lab/table.csv", "text/csv"),
            ("lab/certificate.txt", "text/plain"),
        ] {
            upload(&bucket, &small, &key(text)).await.unwrap();
            assert_eq!(content_type(text).await.as_deref(), Some(expected), "{text}");
            bucket.put(&key(text), "x").await.unwrap();
            assert_eq!(content_type(text).await.as_deref(), Some(expected), "{text}");
        }
        upload(&bucket, &large, &key("lab/large.json")).await.unwrap();
        assert_eq!(content_type("lab/large.json").await.as_deref(), Some("application/json"));
    })
    .await;
}

#[tokio::test]
async fn a_downloaded_file_has_the_modification_time_of_the_uploaded_one() {
    on_server(async |bucket: Bucket| {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
        for size in [10, LARGE] {
            fs::write(&from, vec![7; size]).unwrap();
            fs::File::options().write(true).open(&from).unwrap().set_modified(modified).unwrap();
            upload(&bucket, &from, &key("lab/a")).await.unwrap();
            download(&bucket, &key("lab/a"), &to).await.unwrap();
            assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), modified);
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_without_a_stored_time_gets_the_objects_time() {
    on_both(async |bucket: Bucket| {
        bucket.put(&key("lab/a"), "x").await.unwrap();
        let entry = everything(&bucket, "").await.entries.remove(0);
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("to");
        download(&bucket, &key("lab/a"), &to).await.unwrap();
        let modified = jiff::Timestamp::try_from(fs::metadata(&to).unwrap().modified().unwrap()).unwrap();
        assert_eq!(modified.as_second(), entry.modified.as_second());
    })
    .await;
}

#[tokio::test]
async fn an_archived_object_is_reported_as_archived() {
    on_server(async |bucket: Bucket| {
        let (client, name) = bucket.as_s3().unwrap();
        let put = client.put_object().bucket(name).key("lab/it's cold").storage_class(StorageClass::Glacier);
        put.body(b"x".to_vec().into()).send().await.unwrap();
        let temp = tempfile::tempdir().unwrap();
        let key = key("lab/it's cold");
        for failure in [
            download(&bucket, &key, &temp.path().join("to")).await.unwrap_err(),
            bucket.read(&key, 100).await.unwrap_err(),
        ] {
            assert_eq!(failure.kind, Kind::ObjectArchived, "{failure}");
            let hint = failure.hint.unwrap();
            assert!(hint.contains(&format!("restore-object --bucket {name} --key \"lab/it's cold\"")), "{hint}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_object_with_content_is_not_taken_for_an_empty_folder() {
    on_server(async |bucket: Bucket| {
        let (client, name) = bucket.as_s3().unwrap();
        let put = client.put_object().bucket(name).key("lab/folder/").body(b"content".to_vec().into());
        put.send().await.unwrap();
        let listed = everything(&bucket, "").await;
        assert!(listed.entries.is_empty(), "{listed:?}");
        let unusable: Vec<_> = listed.unusable.iter().map(|item| (item.name.as_str(), item.why.kind)).collect();
        assert_eq!(unusable, [("lab/folder/", Kind::BadKey)]);
    })
    .await;
}
