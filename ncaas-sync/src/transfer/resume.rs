//! Uploads in parts that were not finished: those that this machine remembers, to go on with them, and those that a
//! server has, to list and drop them.

use std::path::PathBuf;

use aws_sdk_s3::error::ProvideErrorMetadata;
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::Result;
use ncaas_core::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use crate::index::cache;

/// An upload that this machine has begun, as the next process finds it: a file in the cache for each object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) address: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) size: u64,
    /// The size of its parts, in bytes.
    pub(super) part: u64,
    /// Of the whole file, in hex.
    pub(super) sha256: String,
}

impl Begun {
    /// What was begun for an object with a file of that size in parts of that size.
    pub(super) fn find(address: &str, key: &Key, size: u64, part: u64) -> Option<Begun> {
        let begun: Begun = serde_json::from_slice(&std::fs::read(file(address, key.as_str())?).ok()?).ok()?;
        (begun.address == address && begun.key == key.as_str() && begun.size == size && begun.part == part)
            .then_some(begun)
    }

    /// Without a cache nothing is remembered, and the next process begins anew.
    pub(super) fn remember(&self) {
        if let Some(file) = file(&self.address, &self.key)
            && let Ok(json) = serde_json::to_vec(self)
        {
            let _ = files::write_whole(&file, &json);
        }
    }

    pub(super) fn forget(&self) {
        if let Some(file) = file(&self.address, &self.key) {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn file(address: &str, key: &str) -> Option<PathBuf> {
    // Two servers may have a bucket of the same name.
    let server =
        std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL")).unwrap_or_default();
    let sum = Sha256::digest(format!("{server}\n{address}\n{key}").as_bytes());
    Some(cache()?.join("uploads").join(&hex(&sum)[..32]))
}

/// An upload that a server has and nobody has finished.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    pub(crate) bucket: Bucket,
    pub(crate) key: Key,
    /// What the server calls it.
    pub(crate) id: String,
}

/// A part that a server has.
#[derive(Debug, Clone)]
pub(crate) struct PartThere {
    pub(crate) number: i32,
    pub(crate) size: u64,
    pub(crate) etag: String,
}

impl Unfinished {
    /// The parts of it that are there; none where the server does not know the upload, or cannot list its parts.
    pub(crate) async fn parts(&self) -> Result<Option<Vec<PartThere>>> {
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
                parts.push(PartThere {
                    number: part.part_number().unwrap_or_default(),
                    size: part.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
                    etag: part.e_tag().unwrap_or_default().to_owned(),
                });
            }
            let next = answer.next_part_number_marker().map(str::to_owned);
            if answer.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(Some(parts));
            }
            marker = next;
        }
    }

    /// Drops it, and the parts that are there.
    pub(crate) async fn drop_parts(&self) -> Result<()> {
        let Some((client, bucket)) = self.bucket.as_s3() else { return Ok(()) };
        let request = client.abort_multipart_upload().bucket(bucket).key(self.key.as_str()).upload_id(&self.id);
        match request.send().await {
            // Somebody else has dropped or finished it since it was listed.
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            dropped => {
                dropped.map(drop).map_err(|error| self.bucket.s3_failure("drop the upload of", Some(&self.key), &error))
            }
        }
    }
}

/// All unfinished uploads below a prefix, with when each was begun. A directory has none.
pub(crate) async fn unfinished(bucket: &Bucket, prefix: &str) -> Result<Vec<(Unfinished, Timestamp)>> {
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
                found.push((Unfinished { bucket: bucket.clone(), key, id: id.to_owned() }, begun));
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
