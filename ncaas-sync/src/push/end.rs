//! `end.txt`: once, last, when every dataset of the submission has ended.

use std::collections::BTreeSet;
use std::path::Path;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{END_FILE, LOGS, PROCESS_RESULTS};
use ncaas_core::pipe::MAX_LINE;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;

use ncaas_core::transfer::Transfer;

/// How the name of a saved record ends.
const RECORD: &str = ".record.json";
const CONTENT: &str = "end of analysis\n";

/// Writes it into the bucket, and then into the job's folder here, if the saved records of all datasets are in the bucket.
pub(crate) async fn write_if_all_ended(between: &Transfer, prefix: &str, job: &Job) -> Result<()> {
    let (bucket, folder) = (between.bucket(), between.folder());
    let end = Key::new(format!("{prefix}{PROCESS_RESULTS}/{END_FILE}"))?;
    if !all_ended(bucket, prefix, job).await? {
        return Ok(());
    }
    if bucket.head(&end).await?.is_none() {
        bucket.put(&end, CONTENT).await?;
    }
    let here = Path::new(PROCESS_RESULTS).join(END_FILE);
    if folder.has(&here) { Ok(()) } else { folder.write_whole(&here, CONTENT.as_bytes()) }
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
        match bucket.read(&key, MAX_LINE as u64).await {
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
