//! The marker of a cancelled submission. It is in the group's own folder, wherever the results go.

use crate::bucket::{Bucket, Key};
use crate::failure::Result;
use crate::layout::{self, CANCEL};
use crate::record::fields::Job;

/// The key of the marker.
///
/// # Errors
/// [`crate::failure::Kind::BadKey`] if group or job id cannot be part of a key.
pub fn key(group: &str, job_id: &str) -> Result<Key> {
    Key::new(format!("{}{CANCEL}", layout::job_prefix(group, job_id)))
}

/// Whether the submission of a job is cancelled. One without a group is not.
///
/// # Errors
/// If the bucket does not answer.
pub async fn is_cancelled(bucket: &Bucket, job: &Job) -> Result<bool> {
    match &job.group {
        Some(group) => has_marker(bucket, group, &job.id).await,
        None => Ok(false),
    }
}

/// Whether the job of a group has the marker.
///
/// # Errors
/// If the bucket does not answer.
pub async fn has_marker(bucket: &Bucket, group: &str, job_id: &str) -> Result<bool> {
    Ok(bucket.head(&key(group, job_id)?).await?.is_some())
}
