//! The marker of a cancelled submission. It lies in the group's own folder, wherever the results go.

use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{CANCEL, job_prefix};
use ncaas_core::record::fields::Job;

use crate::buckets::Buckets;

/// Whether the submission of a job from a bucket is cancelled.
pub(crate) async fn is_cancelled(buckets: &Buckets, job: &Job) -> Result<bool> {
    let (Some(bucket), Some(group)) = (&job.bucket, &job.group) else { return Ok(false) };
    let marker = Key::new(format!("{}{CANCEL}", job_prefix(group, &job.id)))?;
    Ok(buckets.get(bucket).await?.head(&marker).await?.is_some())
}

/// The failure of a job that does not start because its submission is cancelled.
pub(crate) fn cancelled(job: &Job) -> Failure {
    Failure::new(Kind::Cancelled, format!("the submission of `{}` is cancelled", job.id))
}
