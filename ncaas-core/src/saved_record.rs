//! The saved records of a job in its bucket: `logs/<dataset label>.record.json`, one for each dataset that has ended.

use crate::bucket::{Bucket, Key};
use crate::failure::{Kind, NoneIf, Result};
use crate::layout::{LOGS, RECORD_SUFFIX};
use crate::record::{MAX_LINE, Record};

/// The keys of the saved records in a job's folder. `prefix` ends in `/`.
///
/// # Errors
/// If the bucket does not answer.
pub async fn list(bucket: &Bucket, prefix: &str) -> Result<Vec<Key>> {
    let logs = bucket.list_folder(&format!("{prefix}{LOGS}/"), None).entries().await?;
    Ok(logs.into_iter().map(|entry| entry.key).filter(|key| key.as_str().ends_with(RECORD_SUFFIX)).collect())
}

/// The saved record at a key. None if it does not exist or was not written by the tools.
///
/// # Errors
/// If the bucket does not answer.
pub async fn read(bucket: &Bucket, key: &Key) -> Result<Option<Record>> {
    let content = bucket.read(key, MAX_LINE as u64).await.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
    Ok(content.and_then(|(line, _)| Record::parse(&line).ok()))
}
