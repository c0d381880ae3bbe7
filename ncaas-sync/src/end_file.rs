//! `end.txt`: written once, last, when every dataset of the submission has ended.

use std::collections::BTreeSet;
use std::path::Path;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::Result;
use ncaas_core::folder::Folder;
use ncaas_core::layout::{END_CONTENT, END_PATH};
use ncaas_core::record::fields::Job;
use ncaas_core::saved_record;
use ncaas_core::transfer::Transfer;

/// Writes `end.txt` into the bucket, then into the job's folder, if the bucket has the saved records of all datasets.
pub(crate) async fn write_if_all_ended(transfer: &Transfer, prefix: &str, job: &Job) -> Result<()> {
    let (bucket, folder) = (transfer.bucket(), transfer.folder());
    let end = Key::new(format!("{prefix}{END_PATH}"))?;
    if !have_all_ended(bucket, prefix, job).await? {
        return Ok(());
    }
    bucket.put_new(&end, END_CONTENT).await?;
    note_end(folder)
}

/// Writes `end.txt` into a job's folder on this machine, where it shows stages without access to the bucket that the
/// submission has ended.
pub(crate) fn note_end(folder: &Folder) -> Result<()> {
    let path = Path::new(END_PATH);
    if folder.has(path) { Ok(()) } else { folder.write_whole(path, END_CONTENT.as_bytes()) }
}

async fn have_all_ended(bucket: &Bucket, prefix: &str, job: &Job) -> Result<bool> {
    let records = saved_record::list(bucket, prefix).await?;
    // Most jobs are not the last of their submission: then no record needs to be read.
    if (records.len() as u64) < job.datasets {
        return Ok(false);
    }
    let mut ended = BTreeSet::new();
    for key in records {
        let saved = saved_record::read(bucket, &key).await?.and_then(|record| record.job());
        // A record of an earlier attempt does not count.
        ended.extend(saved.filter(|saved| saved.attempt == job.attempt).map(|saved| saved.dataset));
    }
    Ok((1..=job.datasets).all(|dataset| ended.contains(&dataset)))
}
