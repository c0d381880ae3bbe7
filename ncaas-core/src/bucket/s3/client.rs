//! The requests to a bucket on S3 that read, create and delete objects.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, ChecksumMode, ChecksumType, CreateBucketConfiguration};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bucket::failure::{cut_short, too_large};
use crate::bucket::key::{Key, quoted};
use crate::bucket::object::{ObjectInfo, Version, content_type, sha256};
use crate::failure::{Failure, Kind, Result};

use super::connect;
use super::metadata::{CRC64NVME, SHA256, parse_crc64nvme, parse_modified, timestamp, unquoted_etag};
use super::response_status::{is_conflict, is_not_found};

/// A bucket on a server.
#[derive(Debug, Clone)]
pub(in crate::bucket) struct S3Bucket {
    pub(in crate::bucket) client: Client,
    pub(in crate::bucket) name: Arc<str>,
    /// `s3://name`.
    pub(in crate::bucket) address: Arc<str>,
    /// The server's name in messages.
    pub(super) server: Arc<str>,
}

impl S3Bucket {
    pub(in crate::bucket) async fn open(name: &str) -> Result<S3Bucket> {
        let bucket = Self::unchecked(name).await?;
        bucket.check().await?;
        Ok(bucket)
    }

    pub(in crate::bucket) async fn with_client(client: Client, name: &str) -> Result<S3Bucket> {
        let bucket = Self::new(client, name, "its server");
        bucket.check().await?;
        Ok(bucket)
    }

    pub(in crate::bucket) async fn create(name: &str) -> Result<S3Bucket> {
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
            Err(error) if is_conflict(&error) => bucket.check().await.map(|()| bucket),
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

    pub(in crate::bucket) async fn head(&self, key: &Key) -> Result<Option<ObjectInfo>> {
        let request =
            self.client.head_object().bucket(&*self.name).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if is_not_found(&error) => return Ok(None),
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
            modified: timestamp(response.last_modified()),
            etag: response.e_tag().map(unquoted_etag),
            sha256,
            crc64nvme,
            origin_modified: response.metadata().and_then(parse_modified),
        }))
    }

    pub(in crate::bucket) async fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        let request = self.client.get_object().bucket(&*self.name).key(key.as_str());
        let response = request.send().await.map_err(|error| self.failure("read", Some(key), &error))?;
        let size = response.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        if size > limit {
            return Err(too_large(key, limit));
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
                return Err(too_large(key, limit));
            }
        }
        if bytes.len() as u64 != size {
            return Err(cut_short(key, size, bytes.len() as u64));
        }
        Ok((bytes, version))
    }

    /// The version with an ETag. Without an ETag, conditional writes are impossible.
    pub(super) fn version(&self, key: &Key, etag: Option<&str>) -> Result<Version> {
        etag.map(|etag| Version(etag.to_owned())).ok_or_else(|| {
            let message = format!("{} returns no ETag for `{}/{key}`", self.server, self.address);
            Failure::new(Kind::BucketError, message)
        })
    }

    pub(in crate::bucket) async fn put(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        let request = self.client.put_object().bucket(&*self.name).key(key.as_str());
        let request = request.set_content_type(content_type(key)).metadata(SHA256, sha256(&bytes));
        let sent = request.body(ByteStream::from(bytes)).send().await;
        sent.map(drop).map_err(|error| self.failure("write", Some(key), &error))
    }

    pub(in crate::bucket) async fn delete(&self, key: &Key) -> Result<()> {
        match self.client.delete_object().bucket(&*self.name).key(key.as_str()).send().await {
            Err(error) if !is_not_found(&error) => Err(self.failure("delete", Some(key), &error)),
            _ => Ok(()),
        }
    }
}
