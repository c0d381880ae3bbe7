//! Checksums stored with an object decide whether it is unchanged and whether it arrived intact.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::sync::ncaas_sync;
use tempfile::TempDir;

/// One byte more than parts of 6 MiB hold, which is no size that any tool is known for: the ETag tells nothing.
const SIZE: usize = (6 << 20) + 1;

/// A folder with one large file, as it was pushed.
struct Pushed {
    bucket: TestBucket,
    home: TempDir,
    folder: PathBuf,
    target: String,
    /// The object's metadata.
    stored: HashMap<String, String>,
}

impl Pushed {
    fn new() -> Self {
        let bucket = TestBucket::s3("checksums");
        let TestBucket::S3 { name, client, runtime } = &bucket else { unreachable!() };
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tree");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("large"), vec![1; SIZE]).unwrap();
        let target = format!("{}/lab", bucket.address());
        ncaas_sync(&home, &["push", folder.to_str().unwrap(), &target]).run().ok();
        let head = runtime.block_on(client.head_object().bucket(name).key("lab/large").send()).unwrap();
        let stored = head.metadata().unwrap().clone();
        Pushed { bucket, home, folder, target, stored }
    }
}

#[test]
fn pull_writes_no_file_for_an_object_that_differs_from_its_stored_checksum() {
    let Pushed { bucket, home, target, stored, .. } = Pushed::new();
    let TestBucket::S3 { name, client, runtime } = &bucket else { unreachable!() };
    let mut damaged = vec![1; SIZE];
    damaged[SIZE / 2] = 2;
    for kept in [&["sha256", "crc64nvme"][..], &["sha256"], &["crc64nvme"]] {
        let metadata: HashMap<_, _> = kept.iter().map(|sum| ((*sum).to_owned(), stored[*sum].clone())).collect();
        let put = client.put_object().bucket(name).key("lab/large").set_metadata(Some(metadata));
        runtime.block_on(put.body(damaged.clone().into()).send()).unwrap();
        let io_dir = home.path().join("io");
        let ran = ncaas_sync(&home, &["pull", &target, "--io-dir", io_dir.to_str().unwrap()]).run();
        let record = ran.ended_saying(1, "does not match its stored checksum").json().remove(0);
        assert_eq!(record["error"]["kind"], "checksum-mismatch", "{kept:?}");
        assert!(files_below(&io_dir).is_empty(), "{kept:?}: {:?}", files_below(&io_dir));
    }
}

#[test]
fn an_object_with_an_unusable_etag_is_compared_by_its_crc() {
    let Pushed { bucket, home, folder, target, stored } = Pushed::new();
    let TestBucket::S3 { name, client, runtime } = &bucket else { unreachable!() };
    let crc = stored["crc64nvme"].clone();
    runtime.block_on(async {
        let upload = client.create_multipart_upload().bucket(name).key("lab/large").metadata("crc64nvme", crc);
        let id = upload.send().await.unwrap().upload_id.unwrap();
        let mut parts = CompletedMultipartUpload::builder();
        for (number, size) in [(1, SIZE - 1), (2, 1)] {
            let part = client.upload_part().bucket(name).key("lab/large").upload_id(&id).part_number(number);
            let etag = part.body(vec![1; size].into()).send().await.unwrap().e_tag.unwrap();
            parts = parts.parts(CompletedPart::builder().part_number(number).e_tag(etag).build());
        }
        let done = client.complete_multipart_upload().bucket(name).key("lab/large").upload_id(id);
        done.multipart_upload(parts.build()).send().await.unwrap();
    });
    let status = |folder: &str| ncaas_sync(&home, &["status", &target, folder, "--all"]).run().ok().json().remove(0);
    assert_eq!(status(folder.to_str().unwrap())["status"], "unchanged");
    fs::write(folder.join("large"), vec![2; SIZE]).unwrap();
    assert_eq!(status(folder.to_str().unwrap())["status"], "changed");
}
