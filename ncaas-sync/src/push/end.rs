//! `end.txt`: once, last, when every dataset of the submission has ended.

use std::collections::BTreeSet;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::{END, JobFolder, LOGS, PROCESS_RESULTS};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;

/// How the name of a saved record ends.
const RECORD: &str = ".record.json";
/// A saved record lists its results: 300,000 of them, as a line may.
const LARGEST_RECORD: u64 = 64 << 20;
const CONTENT: &str = "end of analysis\n";

/// Writes it into the bucket, and then into the io-dir, if the saved records of all datasets are in the bucket.
pub(crate) async fn write_if_all_ended(bucket: &Bucket, prefix: &str, job: &Job, folder: &JobFolder) -> Result<()> {
    let end = Key::new(format!("{prefix}{PROCESS_RESULTS}/{END}"))?;
    if !all_ended(bucket, prefix, job).await? {
        return Ok(());
    }
    if bucket.head(&end).await?.is_none() {
        bucket.put(&end, CONTENT).await?;
    }
    let here = folder.process_results().join(END);
    if here.exists() { Ok(()) } else { files::write_whole(&here, CONTENT.as_bytes()) }
}

async fn all_ended(bucket: &Bucket, prefix: &str, job: &Job) -> Result<bool> {
    let mut records: Vec<Key> = Vec::new();
    let mut listing = bucket.list_folder(&format!("{prefix}{LOGS}/"), None);
    while let Some(page) = listing.next_page().await? {
        let keys = page.entries.into_iter().map(|entry| entry.key);
        records.extend(keys.filter(|key| key.as_str().ends_with(RECORD)));
    }
    // Most often it is not the last one that ended: then nothing need be read.
    if (records.len() as u64) < job.datasets {
        return Ok(false);
    }
    let mut ended = BTreeSet::new();
    for key in records {
        match bucket.read(&key, LARGEST_RECORD).await {
            Ok((line, _)) => {
                let theirs = Record::parse(&line).ok().and_then(|record| record.job());
                // What an earlier attempt left says nothing about this one.
                ended.extend(theirs.filter(|theirs| theirs.attempt == job.attempt).map(|theirs| theirs.dataset));
            }
            Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok((1..=job.datasets).all(|dataset| ended.contains(&dataset)))
}
