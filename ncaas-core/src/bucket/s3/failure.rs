//! What the SDK's errors mean, in one place.
//!
//! A message holds the server's own code and words, cut to a line, with the HTTP status. Neither credentials nor signed
//! URLs are ever in it: of the request only the key is named.
//!
//! `bucket-unreachable` stands for all that may pass by itself, after the SDK has tried three times: no connection, no
//! answer in time, 429, and 5xx but for 501. Those are [`Kind::BucketUnreachable`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::bucket::key::{Key, quoted};
use crate::failure::{Failure, Kind};

use super::S3Bucket;

/// The longest text of a server that goes into a message, in characters.
const SHOWN: usize = 300;

impl S3Bucket {
    /// A failed request about the whole bucket, or with a key about one object.
    pub(in crate::bucket) fn failure<E>(
        &self,
        what: &str,
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
        let cannot = format!("cannot {what} {subject}");
        match error {
            SdkError::ServiceError(refused) => self.refusal(&cannot, key, refused.err(), refused.raw()),
            SdkError::TimeoutError(_) => {
                Failure::new(Kind::BucketUnreachable, format!("{cannot}: {} does not answer in time", self.server))
            }
            // rclone's server says that a file is gone with the length that the file had.
            SdkError::ResponseError(answer) if key.is_some() && answer.raw().status().as_u16() == 404 => {
                Failure::new(Kind::ObjectNotFound, format!("{cannot}: there is no such object"))
            }
            SdkError::ResponseError(_) => Failure::new(
                Kind::BucketUnreachable,
                format!("{cannot}: {} broke off: {}", self.server, innermost(error)),
            ),
            _ => match find::<CredentialsError>(error) {
                Some(fault) => no_credentials(&cannot, fault),
                None => self.no_connection(&cannot, &innermost(error)),
            },
        }
    }

    fn no_connection(&self, cannot: &str, cause: &str) -> Failure {
        let words = format!("{cannot}: no connection to {}: {cause}", self.server);
        let failure = Failure::new(Kind::BucketUnreachable, words);
        if cause.contains("certificate") {
            return failure.hint("set AWS_CA_BUNDLE to the file with the certificate of the server's authority");
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
                format!("{} gives an answer that cannot be understood (status {status})", self.server)
            }
            ("", None) => format!("{} answers with status {status}", self.server),
            (code, None) => format!("{code} (status {status})"),
            (code, Some(message)) => format!("{code}: {} (status {status})", bounded(message)),
        };
        let fail = |kind| Failure::new(kind, format!("{cannot}: {words}"));
        match (code, status) {
            ("NoSuchBucket", _) => Failure::new(Kind::BucketNotFound, format!("{cannot}: there is no such bucket")),
            ("NoSuchKey" | "NotFound", _) | ("", 404) if key.is_some() => {
                Failure::new(Kind::ObjectNotFound, format!("{cannot}: there is no such object"))
            }
            ("", 404) => fail(Kind::BucketError).hint("is it an S3 server that AWS_ENDPOINT_URL names?"),
            ("RequestTimeTooSkewed", _) => fail(Kind::AccessDenied).hint("set this machine's clock"),
            ("ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired", _)
            | (_, 401 | 403) => fail(Kind::AccessDenied),
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
            | (_, 301 | 307) => {
                let hint = match response.headers().get("x-amz-bucket-region") {
                    Some(region) => format!("the bucket lies in another region: set AWS_REGION={region}"),
                    None => "the bucket lies in another region: set AWS_REGION".to_owned(),
                };
                fail(Kind::BucketError).hint(hint)
            }
            ("SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException", _) | (_, 429 | 500 | 502..=504) => {
                fail(Kind::BucketUnreachable).hint("the server is in trouble or busy: try again later")
            }
            _ => fail(Kind::BucketError),
        }
    }

    /// An answer that ended before all of it was there.
    pub(super) fn broke_off(&self, key: &Key, error: &(dyn Error + 'static)) -> Failure {
        let cause = innermost(error);
        let subject = quoted(&format!("{}/{key}", self.address));
        Failure::new(Kind::BucketUnreachable, format!("cannot read {subject}: {} broke off: {cause}", self.server))
    }
}

fn no_credentials(cannot: &str, fault: &CredentialsError) -> Failure {
    // Without any, the last place that was asked is EC2's metadata service, and its words lead astray.
    let words = match innermost(fault) {
        cause if cause.to_lowercase().contains("imds") => format!("{cannot}: no AWS credentials found"),
        cause => format!("{cannot}: no AWS credentials: {cause}"),
    };
    Failure::new(Kind::AccessDenied, words)
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; LocalStack takes any")
}

/// Whether a conditional request was refused because its condition does not hold.
pub(super) fn is_condition_failed<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(412) || error.code() == Some("PreconditionFailed")
}

/// Whether another request on the same key was under way, so that the server could not decide on the condition.
pub(super) fn is_conflict<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(409)
}

/// Whether the object, or its bucket, is not there.
pub(super) fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(404) && error.code() != Some("NoSuchBucket")
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The words of the error that began it all, such as `connection refused`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let words = chain(error).last().map(ToString::to_string).unwrap_or_default();
    let words = bounded(words.split(" (os error ").next().unwrap_or_default());
    let mut rest = words.chars();
    match rest.next() {
        Some(first) => first.to_lowercase().chain(rest).collect(),
        None => "it is not said why".to_owned(),
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn bounded(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    line.trim().to_owned()
}
