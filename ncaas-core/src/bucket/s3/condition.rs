//! Writing on condition: `If-None-Match: *` and `If-Match`.
//!
//! When the answer to such a request is lost, trying it again finds the condition broken by the first try. So each
//! write carries a mark of its own, and where an earlier try may have succeeded, the object is asked whose it is.

use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;

use crate::bucket::key::Key;
use crate::bucket::object::{Version, nonce, sha256};
use crate::failure::{Kind, Result};

use super::failure::{is_condition_failed, is_conflict, is_not_found};
use super::{S3Bucket, SHA256};

/// The user metadata that says which call wrote an object.
const WRITER: &str = "ncaas-write";

const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// What has to hold for a write to take place.
enum Condition<'a> {
    NothingThere,
    Still(&'a Version),
}

impl S3Bucket {
    pub(in crate::bucket) async fn put_new(&self, key: &Key, bytes: Vec<u8>) -> Result<Option<Version>> {
        self.put_on(Condition::NothingThere, key, &bytes).await
    }

    pub(in crate::bucket) async fn put_if(
        &self,
        key: &Key,
        bytes: Vec<u8>,
        version: &Version,
    ) -> Result<Option<Version>> {
        self.put_on(Condition::Still(version), key, &bytes).await
    }

    async fn put_on(&self, condition: Condition<'_>, key: &Key, bytes: &[u8]) -> Result<Option<Version>> {
        let mark = nonce();
        let mut may_be_ours = false;
        let mut tries = 1;
        loop {
            let error = match self.put_once(&condition, key, bytes, &mark).await {
                Ok(written) => return self.version(key, written.e_tag()).map(Some),
                Err(error) => error,
            };
            let is_gone = matches!(condition, Condition::Still(_)) && is_not_found(&error);
            if is_condition_failed(&error) || is_gone {
                return if may_be_ours { self.written_by(key, &mark).await } else { Ok(None) };
            }
            let failure = self.failure("write", Some(key), &error);
            if tries == TRIES || !(failure.kind == Kind::BucketUnreachable || is_conflict(&error)) {
                return Err(failure);
            }
            may_be_ours |= !is_conflict(&error);
            tokio::time::sleep(PAUSE * tries).await;
            tries += 1;
        }
    }

    async fn put_once(
        &self,
        condition: &Condition<'_>,
        key: &Key,
        bytes: &[u8],
        mark: &str,
    ) -> Result<PutObjectOutput, SdkError<PutObjectError, HttpResponse>> {
        let request = self.client.put_object().bucket(&*self.name).key(key.as_str());
        let request = match condition {
            Condition::NothingThere => request.if_none_match("*"),
            Condition::Still(version) => request.if_match(&version.0),
        };
        // The SDK's own retries would hide that a try may have succeeded.
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let request = request.metadata(SHA256, sha256(bytes)).metadata(WRITER, mark);
        request.body(ByteStream::from(bytes.to_vec())).customize().config_override(once).send().await
    }

    /// The version of an object if it is the one that was written with this mark.
    async fn written_by(&self, key: &Key, mark: &str) -> Result<Option<Version>> {
        match self.client.head_object().bucket(&*self.name).key(key.as_str()).send().await {
            Ok(found) => {
                let is_ours = found.metadata().and_then(|metadata| metadata.get(WRITER)).is_some_and(|it| it == mark);
                Ok(found.e_tag().filter(|_| is_ours).map(|etag| Version(etag.to_owned())))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.failure("read", Some(key), &error)),
        }
    }
}
