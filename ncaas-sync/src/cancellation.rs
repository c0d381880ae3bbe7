//! Jobs of cancelled submissions.

use ncaas_core::bucket::Buckets;
use ncaas_core::cancellation;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Job;

pub(crate) async fn is_cancelled(buckets: &Buckets, job: &Job) -> Result<bool> {
    let (Some(bucket), Some(group)) = (&job.bucket, &job.group) else { return Ok(false) };
    cancellation::is_cancelled(&buckets.open(bucket).await?, group, &job.id).await
}

/// The failure of a job that does not start because its submission is cancelled.
pub(crate) fn cancelled(job: &Job) -> Failure {
    Failure::new(Kind::Cancelled, format!("the submission of `{}` is cancelled", job.id))
}
