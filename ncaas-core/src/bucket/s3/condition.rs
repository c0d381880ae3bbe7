//! Conditional writes: `If-None-Match: *` and `If-Match`.
//!
//! If the answer to such a request is lost, the next attempt finds that the first one has made its condition false. So
//! each write stores a unique mark, and if an earlier attempt may have succeeded, the object's mark decides.

use std::time::Duration;

use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;

use crate::bucket::key::Key;
use crate::bucket::object::{Version, content_type, sha256};
use crate::bucket::retry::Retries;
use crate::failure::Result;
use crate::files::random_id;

use super::client::S3Bucket;
use super::metadata::SHA256;
use super::response_status::{is_condition_failed, is_conflict, is_not_found};

/// The user metadata that says which call wrote an object.
const WRITER: &str = "ncaas-write";

/// How often a write is repeated that conflicts with another one in progress, and the pause before the first
/// repetition.
const CONFLICTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// The condition for a write.
enum Condition<'a> {
    Missing,
    Unchanged(&'a Version),
}

impl S3Bucket {
    pub(in crate::bucket) async fn put_new(&self, key: &Key, bytes: Vec<u8>) -> Result<Option<Version>> {
        self.put_on(Condition::Missing, key, &bytes).await
    }

    pub(in crate::bucket) async fn put_if(
        &self,
        key: &Key,
        bytes: Vec<u8>,
        version: &Version,
    ) -> Result<Option<Version>> {
        self.put_on(Condition::Unchanged(version), key, &bytes).await
    }

    async fn put_on(&self, condition: Condition<'_>, key: &Key, bytes: &[u8]) -> Result<Option<Version>> {
        let mark = random_id();
        let mut may_be_ours = false;
        let mut retries = Retries::default();
        let mut conflicts = 0;
        loop {
            let error = match self.put_once(&condition, key, bytes, &mark).await {
                Ok(written) => return self.version(key, written.e_tag()).map(Some),
                Err(error) => error,
            };
            let is_gone = matches!(condition, Condition::Unchanged(_)) && is_not_found(&error);
            if is_condition_failed(&error) || is_gone {
                return if may_be_ours { self.written_by(key, &mark).await } else { Ok(None) };
            }
            let failure = self.failure("write", Some(key), &error);
            if is_conflict(&error) && conflicts < CONFLICTS {
                conflicts += 1;
                tokio::time::sleep(PAUSE * conflicts).await;
                continue;
            }
            retries.wait_after(failure).await?;
            may_be_ours = true;
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
            Condition::Missing => request.if_none_match("*"),
            Condition::Unchanged(version) => request.if_match(&version.0),
        };
        // The SDK's own retries would hide that an attempt may have succeeded.
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let request =
            request.metadata(SHA256, sha256(bytes)).metadata(WRITER, mark).set_content_type(content_type(key));
        request.body(ByteStream::from(bytes.to_vec())).customize().config_override(once).send().await
    }

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
