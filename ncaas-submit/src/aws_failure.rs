//! Failures for the AWS SDK's errors about queues, notifications and AWS Batch.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use ncaas_core::failure::{CHECK_CREDENTIALS, Failure, Kind, MESSAGE_LIMIT, innermost_cause};
use ncaas_core::text::bound_message;

/// The failure `cannot ...` for an error of the SDK: of kind `unreachable` without an answer of the service, else of
/// the kind for the code in the answer.
pub(crate) fn aws_failure<E>(
    cannot: &str,
    error: &SdkError<E, HttpResponse>,
    unreachable: Kind,
    kind_for_code: impl Fn(&str) -> Kind,
) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(refused) = error.as_service_error() else {
        return Failure::new(unreachable, format!("{cannot}: {}", innermost_cause(error)));
    };
    let code = refused.code().unwrap_or_default();
    let words = bound_message(refused.message().unwrap_or_default(), MESSAGE_LIMIT);
    let failure = Failure::new(kind_for_code(code), format!("{cannot}: {code}: {words}"));
    if failure.kind == Kind::AccessDenied { failure.hint(CHECK_CREDENTIALS) } else { failure }
}
