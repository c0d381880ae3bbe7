//! Failures for the SDK's errors.
//!
//! A message contains the server's code and message on one line, and the HTTP status. It names only the key of the
//! request: it never contains credentials or signed URLs.
//!
//! [`Kind::BucketUnreachable`] is the kind of all transient errors: no connection, no answer in time, 429, and 5xx
//! except 501.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::bucket::key::{Key, quoted};
use crate::failure::{CHECK_CREDENTIALS, Failure, Kind, MESSAGE_LIMIT, error_chain, innermost_cause};
use crate::text::bound_message;

use super::client::S3Bucket;

impl S3Bucket {
    /// A failed request about the whole bucket, or with a key about one object.
    pub(in crate::bucket) fn failure<E>(
        &self,
        verb: &str,
        key: Option<&Key>,
        error: &SdkError<E, HttpResponse>,
    ) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let subject = match key {
            Some(key) => quoted(&format!("{}/{key}", self.address)),
            None => format!("`{}`", self.address),
        };
        let cannot = format!("cannot {verb} {subject}");
        match error {
            SdkError::ServiceError(refused) => self.refusal(&cannot, key, refused.err(), refused.raw()),
            SdkError::TimeoutError(_) => {
                Failure::new(Kind::BucketUnreachable, format!("{cannot}: {} did not answer in time", self.server))
            }
            // rclone's server answers 404 with the length of the deleted file.
            SdkError::ResponseError(answer) if key.is_some() && answer.raw().status().as_u16() == 404 => {
                Failure::new(Kind::ObjectNotFound, format!("{cannot}: the object does not exist"))
            }
            SdkError::ResponseError(_) => self.incomplete_response(&cannot, error),
            _ => match find::<CredentialsError>(error) {
                Some(fault) => no_credentials(&cannot, fault),
                None => self.no_connection(&cannot, &innermost_cause(error)),
            },
        }
    }

    fn no_connection(&self, cannot: &str, cause: &str) -> Failure {
        let words = format!("{cannot}: no connection to {}: {cause}", self.server);
        let failure = Failure::new(Kind::BucketUnreachable, words);
        if cause.contains("certificate") {
            return failure.hint(
                "set AWS_CA_BUNDLE to a file with the certificate of the CA that signed the server's certificate",
            );
        }
        failure
    }

    fn refusal<E: ProvideErrorMetadata>(
        &self,
        cannot: &str,
        key: Option<&Key>,
        error: &E,
        response: &HttpResponse,
    ) -> Failure {
        let status = response.status().as_u16();
        let code = error.code().unwrap_or_default();
        let words = match (code, error.message()) {
            ("", None) if response.status().is_success() => {
                format!("{} sent an invalid answer (status {status})", self.server)
            }
            ("", None) => format!("{} answered with status {status}", self.server),
            (code, None) => format!("{code} (status {status})"),
            (code, Some(message)) => format!("{code}: {} (status {status})", bound_message(message, MESSAGE_LIMIT)),
        };
        let fail = |kind| Failure::new(kind, format!("{cannot}: {words}"));
        match (code, status) {
            ("NoSuchBucket", _) => Failure::new(Kind::BucketNotFound, format!("{cannot}: the bucket does not exist")),
            ("NoSuchKey" | "NotFound", _) | ("", 404) if key.is_some() => {
                Failure::new(Kind::ObjectNotFound, format!("{cannot}: the object does not exist"))
            }
            ("", 404) => fail(Kind::BucketError).hint("check that AWS_ENDPOINT_URL names an S3 server"),
            ("InvalidObjectState", _) => self.archived(cannot, key),
            ("RequestTimeTooSkewed", _) => fail(Kind::AccessDenied).hint("correct this machine's clock"),
            ("ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired", _)
            | (_, 401 | 403) => fail(Kind::AccessDenied).hint(CHECK_CREDENTIALS),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 301 | 307) => {
                let hint = match response.headers().get("x-amz-bucket-region") {
                    Some(region) => format!("the bucket is in another region: set AWS_REGION={region}"),
                    None => "the bucket is in another region: set AWS_REGION".to_owned(),
                };
                fail(Kind::BucketError).hint(hint)
            }
            ("SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException", _) | (_, 429 | 500 | 502..=504) => {
                fail(Kind::BucketUnreachable).hint("the server is overloaded or has failed: try again later")
            }
            _ => fail(Kind::BucketError),
        }
    }

    /// The failure for an object in an archive storage class (Glacier), which has no readable content until it is
    /// restored.
    fn archived(&self, cannot: &str, key: Option<&Key>) -> Failure {
        let failure = Failure::new(Kind::ObjectArchived, format!("{cannot}: the object is archived"));
        let key = key.and_then(|key| shlex::try_quote(key.as_str()).ok()).unwrap_or("KEY".into());
        failure.hint(format!(
            "restore it with `aws s3api restore-object --bucket {} --key {key} --restore-request Days=7`, and try again \
             when `aws s3api head-object` shows that the restore has finished",
            self.name
        ))
    }

    /// The failure of a response that ended too early.
    pub(super) fn incomplete_response(&self, cannot: &str, error: &(dyn Error + 'static)) -> Failure {
        let cause = innermost_cause(error);
        let message = format!("{cannot}: the response of {} is incomplete: {cause}", self.server);
        Failure::new(Kind::BucketUnreachable, message)
    }
}

fn no_credentials(cannot: &str, fault: &CredentialsError) -> Failure {
    // Without credentials, the last source is EC2's metadata service, and its message misleads.
    let words = match innermost_cause(fault) {
        cause if cause.to_lowercase().contains("imds") => format!("{cannot}: no AWS credentials found"),
        cause => format!("{cannot}: no AWS credentials: {cause}"),
    };
    Failure::new(Kind::AccessDenied, words)
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; LocalStack accepts any")
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error_chain(error).find_map(|error| error.downcast_ref())
}
