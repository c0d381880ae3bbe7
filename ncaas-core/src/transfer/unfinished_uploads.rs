//! Unfinished multipart uploads: those that this machine remembers, to resume them, and those that a server lists, to
//! abort them.

use std::path::PathBuf;

use aws_sdk_s3::error::ProvideErrorMetadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bucket::{Bucket, Key};
use crate::failure::Result;
use crate::files;

/// An upload that this machine has begun, for the next process to resume: a file in the cache for each object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingUpload {
    pub(super) address: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) size: u64,
    /// The size of its parts, in bytes.
    pub(super) part: u64,
    /// SHA-256 of the whole file, in hex.
    pub(super) sha256: String,
}

impl PendingUpload {
    /// The upload that was begun for an object, with a file of `size` bytes in parts of `part` bytes.
    pub(super) fn find(address: &str, key: &Key, size: u64, part: u64) -> Option<PendingUpload> {
        let pending: PendingUpload =
            serde_json::from_slice(&std::fs::read(cache_file(address, key.as_str())?).ok()?).ok()?;
        (pending.address == address && pending.key == key.as_str() && pending.size == size && pending.part == part)
            .then_some(pending)
    }

    /// Without a cache folder nothing is remembered, and the next process starts from the beginning.
    pub(super) fn remember(&self) {
        if let Some(file) = cache_file(&self.address, &self.key)
            && let Ok(json) = serde_json::to_vec(self)
        {
            let _ = files::write_whole(&file, &json);
        }
    }

    pub(super) fn forget(&self) {
        if let Some(file) = cache_file(&self.address, &self.key) {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn cache_file(address: &str, key: &str) -> Option<PathBuf> {
    // Two servers may have a bucket of the same name.
    let server =
        std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL")).unwrap_or_default();
    let sum = Sha256::digest(format!("{server}\n{address}\n{key}").as_bytes());
    Some(files::cache_folder()?.join("uploads").join(hex::encode(&sum[..16])))
}

/// An unfinished upload on a server.
#[derive(Debug, Clone)]
pub struct UnfinishedUpload {
    pub(super) bucket: Bucket,
    /// Key of the object that it would become.
    pub key: Key,
    /// The server's id of the upload.
    pub id: String,
}

/// A part that a server has received.
#[derive(Debug, Clone)]
pub struct StoredPart {
    /// From 1 on.
    pub number: i32,
    /// In bytes.
    pub size: u64,
    /// As the server gave it.
    pub etag: String,
    /// CRC-32 in Base64, if the server has one.
    pub crc32: Option<String>,
}

impl UnfinishedUpload {
    /// Its parts on the server; `None` if the server does not know the upload, or cannot list parts.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn parts(&self) -> Result<Option<Vec<StoredPart>>> {
        let Some((client, bucket)) = self.bucket.as_s3() else { return Ok(None) };
        let mut parts = Vec::new();
        let mut marker = None;
        loop {
            let request = client.list_parts().bucket(bucket).key(self.key.as_str()).upload_id(&self.id);
            let answer = match request.set_part_number_marker(marker.clone()).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let status = error.raw_response().map(|response| response.status().as_u16());
                    let is_unknown =
                        error.code() == Some("NoSuchUpload") || matches!(status, Some(404 | 501 | 200..300));
                    if is_unknown {
                        return Ok(None);
                    }
                    return Err(self.bucket.s3_failure("list the parts of", Some(&self.key), &error));
                }
            };
            for part in answer.parts() {
                parts.push(StoredPart {
                    number: part.part_number().unwrap_or_default(),
                    size: part.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
                    etag: part.e_tag().unwrap_or_default().to_owned(),
                    crc32: part.checksum_crc32().map(str::to_owned),
                });
            }
            let next = answer.next_part_number_marker().map(str::to_owned);
            if answer.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(Some(parts));
            }
            marker = next;
        }
    }

    /// Aborts the upload and removes its parts.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn abort(&self) -> Result<()> {
        let Some((client, bucket)) = self.bucket.as_s3() else { return Ok(()) };
        let request = client.abort_multipart_upload().bucket(bucket).key(self.key.as_str()).upload_id(&self.id);
        match request.send().await {
            // It was aborted or completed since it was listed.
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            aborted => aborted
                .map(drop)
                .map_err(|error| self.bucket.s3_failure("abort the upload of", Some(&self.key), &error)),
        }
    }
}

/// All unfinished uploads below a prefix, each with the time of its beginning. A directory has none.
///
/// # Errors
/// If the server fails.
pub async fn list_unfinished_uploads(bucket: &Bucket, prefix: &str) -> Result<Vec<(UnfinishedUpload, Timestamp)>> {
    let Some((client, name)) = bucket.as_s3() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let request = client.list_multipart_uploads().bucket(name).prefix(prefix);
        let request = request.set_key_marker(key_marker.clone()).set_upload_id_marker(id_marker.clone());
        let answer = request.send().await.map_err(|error| bucket.s3_failure("list the uploads of", None, &error))?;
        for upload in answer.uploads() {
            let begun =
                upload.initiated().and_then(|time| Timestamp::from_second(time.secs()).ok()).unwrap_or_default();
            if let (Ok(key), Some(id)) = (Key::new(upload.key().unwrap_or_default()), upload.upload_id()) {
                found.push((UnfinishedUpload { bucket: bucket.clone(), key, id: id.to_owned() }, begun));
            }
        }
        let next = answer.next_key_marker().map(str::to_owned);
        if answer.is_truncated() != Some(true) || next.is_none() || next == key_marker {
            return Ok(found);
        }
        key_marker = next;
        id_marker = answer.next_upload_id_marker().map(str::to_owned);
    }
}
