//! The failures of requests about a queue.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use ncaas_core::failure::{Failure, Kind};

use crate::aws_failure::aws_failure;

/// A failed request about a queue.
pub(super) fn failure<E>(what: &str, queue: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cannot = format!("cannot {what} the queue `{queue}`");
    let failure = aws_failure(&cannot, error, Kind::BucketUnreachable, |code| match code {
        "AWS.SimpleQueueService.NonExistentQueue" | "QueueDoesNotExist" => Kind::ObjectNotFound,
        "AccessDenied" | "AccessDeniedException" => Kind::AccessDenied,
        _ => Kind::BucketError,
    });
    if failure.kind == Kind::ObjectNotFound {
        return failure.hint("`ncaas-submit init BUCKET --queue` creates one, and so does `watch --notify`");
    }
    failure
}
