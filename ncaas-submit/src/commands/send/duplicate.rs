//! Finds an earlier submission of the same datasets with the same config that has not ended.

use std::cmp::Reverse;

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Bucket, Buckets, Key, ObjectInfo};
use ncaas_core::failure::Result;
use ncaas_core::layout::SUBMISSIONS;

use crate::bucket_job::BucketJob;
use crate::submission::{AllowedKeys, Name, Submission};
use crate::submit_files::is_submit_file;

/// How many submissions of the group are read, all at once: the latest ones.
const LATEST: usize = 16;

/// The job id of an unfinished submission with the same datasets and config. `key` and `size` are those of the submit
/// file that is written for this one: only files that differ in their timestamp alone by their size are read, so that a
/// script that sends a thousand submissions does not read them again and again.
pub(super) async fn find_unfinished(
    bucket: &Bucket,
    group: &str,
    submission: &Submission,
    (key, size): (&Key, usize),
) -> Result<Option<String>> {
    // The key contains the timestamp, and so does the content.
    let rest = |key: &Key, size: u64| size.checked_sub(key.as_str().len() as u64);
    let is_same_size = |entry: &ObjectInfo| rest(&entry.key, entry.size) == rest(key, size as u64);
    let mut entries: Vec<ObjectInfo> = Vec::new();
    let mut listing = bucket.list(&format!("{group}/{SUBMISSIONS}/"), None);
    while let Some(page) = listing.next_page().await? {
        entries
            .extend(page.entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str()) && is_same_size(entry)));
    }
    entries.sort_by_key(|entry| Reverse(entry.modified));
    entries.truncate(LATEST);
    let buckets = Buckets::default();
    let unfinished = stream::iter(entries).map(async |entry| {
        let earlier =
            Submission::load(bucket, &entry.key, &AllowedKeys::everywhere(bucket.address(), group)).await.ok()??;
        if names(&earlier) != names(submission) {
            return None;
        }
        let job = BucketJob::for_submission(bucket, &buckets, &entry, group.to_owned(), &earlier).await.ok()?;
        let facts = job.facts().await.ok()?;
        (facts.ended_at.is_none() && !facts.is_cancelled).then_some(job.id)
    });
    let mut unfinished = std::pin::pin!(unfinished.buffered(LATEST).filter_map(async |id| id));
    Ok(unfinished.next().await)
}

/// The datasets, and the config.
fn names(submission: &Submission) -> (Vec<&str>, Option<&str>) {
    (submission.datasets.iter().map(Name::as_str).collect(), submission.config.as_ref().map(Name::as_str))
}
