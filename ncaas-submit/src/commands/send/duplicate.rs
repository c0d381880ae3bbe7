//! Finds an earlier submission of the same datasets with the same config that has not ended.

use std::cmp::Reverse;

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Bucket, Buckets, ObjectInfo};
use ncaas_core::failure::Result;
use ncaas_core::layout::SUBMISSIONS;

use crate::commands::ls::find_job;
use crate::submission::{Name, Reach, Submission};
use crate::submit_files::is_submit_file;

/// How many submissions of the group are read, the latest ones.
const LATEST: usize = 64;

/// How many are read at once.
const AT_ONCE: usize = 16;

/// The job id of an unfinished submission with the same datasets and config.
pub(super) async fn find_unfinished(bucket: &Bucket, group: &str, submission: &Submission) -> Result<Option<String>> {
    let mut entries: Vec<ObjectInfo> = Vec::new();
    let mut listing = bucket.list(&format!("{group}/{SUBMISSIONS}/"), None);
    while let Some(page) = listing.next_page().await? {
        entries.extend(page.entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str())));
    }
    entries.sort_by_key(|entry| Reverse(entry.modified));
    entries.truncate(LATEST);
    let buckets = Buckets::default();
    let unfinished = stream::iter(entries).map(async |entry| {
        let earlier =
            Submission::load(bucket, &entry.key, &Reach::everywhere(bucket.address(), group)).await.ok()??;
        if names(&earlier) != names(submission) {
            return None;
        }
        let job = find_job(bucket, &buckets, &entry, group.to_owned(), &earlier).await.ok()?;
        let facts = job.facts().await.ok()?;
        (facts.ended_at.is_none() && !facts.is_cancelled).then_some(job.id)
    });
    let mut unfinished = std::pin::pin!(unfinished.buffered(AT_ONCE).filter_map(async |id| id));
    Ok(unfinished.next().await)
}

/// The datasets, and the config.
fn names(submission: &Submission) -> (Vec<&str>, Option<&str>) {
    (submission.datasets.iter().map(Name::as_str).collect(), submission.config.as_ref().map(Name::as_str))
}
