//! A bucket on S3, or on a server that speaks its protocol.

mod condition;
mod connect;
mod failure;
mod list;
mod multipart;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, ChecksumMode, ChecksumType, CreateBucketConfiguration};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::failure::{Failure, Kind, Result};
use crate::time::{format_seconds, parse_seconds};

pub use connect::aws_settings;
pub(super) use list::S3Listing;
pub(crate) use list::unquoted_etag;

use super::key::{Key, quoted};
use super::object::{ObjectInfo, Version, content_type, sha256};

/// The user metadata (`x-amz-meta-sha256`) that holds the SHA-256 of an object's content as lower-case hex.
const SHA256: &str = "sha256";

/// The user metadata that holds its CRC-64/NVME, as S3 writes it in headers: eight bytes, the highest first, in Base64.
const CRC64NVME: &str = "crc64nvme";

fn parse_crc64nvme(text: &str) -> Option<u64> {
    STANDARD.decode(text).ok()?.try_into().ok().map(u64::from_be_bytes)
}

/// The user metadata for content with this SHA-256, in hex, and this CRC-64/NVME, if it is known. Every server keeps user
/// metadata.
pub(crate) fn checksum_metadata(sha256: &str, crc64nvme: Option<u64>) -> HashMap<String, String> {
    let crc64nvme = crc64nvme.map(|sum| (CRC64NVME.to_owned(), STANDARD.encode(sum.to_be_bytes())));
    std::iter::once((SHA256.to_owned(), sha256.to_owned())).chain(crc64nvme).collect()
}

/// The user metadata that holds the modification time of the uploaded file, in seconds since 1970 as a decimal number, as
/// rclone stores it.
const MODIFIED: &str = "mtime";

/// The user metadata in which s3cmd stores a file's attributes: `.../mtime:1606753161/...`.
const S3CMD_ATTRIBUTES: &str = "s3cmd-attrs";

/// The user metadata for a modification time in nanoseconds since 1970.
pub(crate) fn modified_metadata(nanoseconds: i64) -> (String, String) {
    (MODIFIED.to_owned(), format_seconds(nanoseconds.into()))
}

/// The modification time in an object's user metadata.
pub(crate) fn parse_modified(metadata: &HashMap<String, String>) -> Option<Timestamp> {
    let s3cmd = || metadata.get(S3CMD_ATTRIBUTES)?.split('/').find_map(|attribute| attribute.strip_prefix("mtime:"));
    let text = metadata.get(MODIFIED).map(String::as_str).or_else(s3cmd)?;
    Timestamp::from_nanosecond(parse_seconds(text)?).ok()
}

/// A bucket on a server.
#[derive(Debug, Clone)]
pub(super) struct S3Bucket {
    pub(super) client: Client,
    pub(super) name: Arc<str>,
    /// `s3://name`.
    pub(super) address: Arc<str>,
    /// The server's name in messages.
    server: Arc<str>,
}

impl S3Bucket {
    pub(super) async fn open(name: &str) -> Result<S3Bucket> {
        let bucket = Self::unchecked(name).await?;
        bucket.check().await?;
        Ok(bucket)
    }

    pub(super) async fn with_client(client: Client, name: &str) -> Result<S3Bucket> {
        let bucket = Self::new(client, name, "its server");
        bucket.check().await?;
        Ok(bucket)
    }

    pub(super) async fn create(name: &str) -> Result<S3Bucket> {
        let bucket = Self::unchecked(name).await?;
        // AWS accepts every region's name here except that of its first one.
        let region = bucket.client.config().region().map(ToString::to_string).filter(|region| region != "us-east-1");
        let location = region.map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        match bucket.client.create_bucket().bucket(name).set_create_bucket_configuration(location).send().await {
            Ok(_) => Ok(bucket),
            // Not every server distinguishes the caller's own bucket from another's: using it shows whose it is.
            Err(error) if failure::is_conflict(&error) => bucket.check().await.map(|()| bucket),
            Err(error) => Err(bucket.failure("create", None, &error)),
        }
    }

    async fn unchecked(name: &str) -> Result<S3Bucket> {
        let (client, server) = connect::connect().await?;
        Ok(Self::new(client, name, &server))
    }

    fn new(client: Client, name: &str, server: &str) -> S3Bucket {
        S3Bucket { client, name: name.into(), address: format!("s3://{name}").into(), server: server.into() }
    }

    /// Checks that the bucket exists. Unlike HeadBucket, whose answer has no body, a failed listing gives a reason.
    async fn check(&self) -> Result<()> {
        let mut listing = S3Listing::new(self.clone(), "", None, false);
        listing.limit = 1;
        listing.page().await.map(drop)
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<ObjectInfo>> {
        let request =
            self.client.head_object().bucket(&*self.name).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if failure::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(self.failure("read", Some(key), &error)),
        };
        let stored = |name| response.metadata().and_then(|metadata| metadata.get(name)).map(String::as_str);
        let stored_by_sender = (stored(SHA256).map(str::to_owned), stored(CRC64NVME).and_then(parse_crc64nvme));
        let (sha256, crc64nvme) = match stored_by_sender {
            // The server's own checksums count only where the sender stored none: they cover the received content.
            (None, None) if response.checksum_type() != Some(&ChecksumType::Composite) => {
                let sha256 = response.checksum_sha256().and_then(|sum| STANDARD.decode(sum).ok());
                (sha256.map(hex::encode), response.checksum_crc64_nvme().and_then(parse_crc64nvme))
            }
            stored_by_sender => stored_by_sender,
        };
        Ok(Some(ObjectInfo {
            key: key.clone(),
            size: response.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            modified: list::timestamp(response.last_modified()),
            etag: response.e_tag().map(unquoted_etag),
            sha256,
            crc64nvme,
            origin_modified: response.metadata().and_then(parse_modified),
        }))
    }

    pub(super) async fn exists_under(&self, prefix: &str) -> Result<bool> {
        let mut listing = S3Listing::new(self.clone(), prefix, None, false);
        listing.limit = 1;
        loop {
            let page = listing.page().await?;
            if !page.entries.is_empty() || page.len() == 0 {
                return Ok(!page.entries.is_empty());
            }
        }
    }

    pub(super) async fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        let request = self.client.get_object().bucket(&*self.name).key(key.as_str());
        let response = request.send().await.map_err(|error| self.failure("read", Some(key), &error))?;
        let size = response.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        if size > limit {
            return Err(super::too_large(key, limit));
        }
        let version = self.version(key, response.e_tag())?;
        let mut bytes = Vec::new();
        let mut body = response.body;
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| {
                let cannot = format!("cannot read {}", quoted(&format!("{}/{key}", self.address)));
                self.incomplete_response(&cannot, &error)
            })?);
            if bytes.len() as u64 > limit {
                return Err(super::too_large(key, limit));
            }
        }
        if bytes.len() as u64 != size {
            return Err(super::cut_short(key, size, bytes.len() as u64));
        }
        Ok((bytes, version))
    }

    /// The version with an ETag. Without an ETag, conditional writes are impossible.
    fn version(&self, key: &Key, etag: Option<&str>) -> Result<Version> {
        etag.map(|etag| Version(etag.to_owned())).ok_or_else(|| {
            let message = format!("{} returns no ETag for `{}/{key}`", self.server, self.address);
            Failure::new(Kind::BucketError, message)
        })
    }

    pub(super) async fn put(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        let request = self.client.put_object().bucket(&*self.name).key(key.as_str());
        let request = request.set_content_type(content_type(key)).metadata(SHA256, sha256(&bytes));
        let sent = request.body(ByteStream::from(bytes)).send().await;
        sent.map(drop).map_err(|error| self.failure("write", Some(key), &error))
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<()> {
        match self.client.delete_object().bucket(&*self.name).key(key.as_str()).send().await {
            Err(error) if !failure::is_not_found(&error) => Err(self.failure("delete", Some(key), &error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modification_time_is_stored_and_read_as_other_tools_do() {
        let parsed = |name: &str, value: &str| {
            parse_modified(&HashMap::from([(name.to_owned(), value.to_owned())])).map(Timestamp::as_nanosecond)
        };
        for nanoseconds in [0, 1, 1_606_753_161_123_456_789, -1, -1_500_000_000] {
            let (name, value) = modified_metadata(nanoseconds);
            assert_eq!(parsed(&name, &value), Some(nanoseconds.into()), "{value}");
        }
        assert_eq!(parsed("mtime", "1606753161.5"), Some(1_606_753_161_500_000_000));
        assert_eq!(parsed("s3cmd-attrs", "atime:1/gid:0/mtime:1606753161/uid:0"), Some(1_606_753_161_000_000_000));
        for wrong in ["", "x", "1.x", "99999999999999999999999999999999999999999"] {
            assert_eq!(parsed("mtime", wrong), None, "{wrong}");
        }
    }
}
