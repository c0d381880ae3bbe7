//! Downloads the inputs of one job: its dataset, its config and its submit file; or the saved record of a job that has
//! ended, of which nothing needs to run again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use ncaas_core::bucket::{Bucket, Buckets, Key, ObjectInfo};
use ncaas_core::cancellation;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs::locate;
use ncaas_core::io_dir::{fill_io_dir, make_group_io_dir};
use ncaas_core::layout::{CONFIGS, INPUTS, JobFolder, SUBMISSIONS};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::saved_record;

use super::leftovers::remove_leftovers;
use crate::args::DEFAULT_FILES;
use ncaas_core::transfer::Transfer;

/// How often an object that is replaced again and again is read.
const MAX_READS: u32 = 4;

/// Downloads the inputs of jobs into their io-dirs.
pub(crate) struct Puller<'p> {
    pub(crate) buckets: Buckets,
    /// For records without an io-dir.
    pub(crate) io_dir: &'p Path,
    /// Read files even if the index knows them.
    pub(crate) reread: bool,
    /// By io-dir and bucket: the jobs of a group share an index.
    pub(crate) transfers: RefCell<HashMap<(String, String), Transfer>>,
    /// The io-dirs from which the leftovers of killed stages were removed.
    pub(crate) cleared: RefCell<HashSet<String>>,
}

impl Puller<'_> {
    /// Downloads the inputs of a record's job and sets its io-dir.
    pub(crate) async fn pull(&self, record: &mut Record) -> Result<()> {
        // The dataset of a cancelled submission may have ended before.
        if record.error().is_some_and(|error| error.kind != Kind::Cancelled) {
            return Ok(());
        }
        fill_io_dir(record, self.io_dir)?;
        // A job from arguments names paths of this machine.
        let Some(job) = record.job() else { return Ok(()) };
        let Some(own) = &job.bucket else { return Ok(()) };
        if let Some(saved) = self.find_saved_record(record, &job).await? {
            return copy_end(&saved, record);
        }
        if record.has_error() {
            return Ok(());
        }
        if cancellation::is_cancelled(&self.buckets.open(own).await?, &job).await? {
            return Err(Failure::new(Kind::Cancelled, format!("`{}` was cancelled", job.id)));
        }
        let io_dir = record.require("io_dir")?;
        self.clear_io_dir(io_dir, &job).await?;
        let datasets = record.dataname().ok_or_else(|| Failure::missing_field("dataname"))?;
        let mut wanted: Vec<(&str, &str)> = datasets.names().into_iter().map(|name| (name, INPUTS)).collect();
        wanted.extend(record.text("configname").map(|name| (name, CONFIGS)));
        wanted.extend(job.submission.as_deref().map(|name| (name, SUBMISSIONS)));
        for (name, folder) in wanted {
            let input = locate(record, name, folder)?;
            let to = input.host.strip_prefix(io_dir).unwrap_or(&input.host);
            let (bucket, key) = self.buckets.find_object(own, name).await?;
            download_input(&self.transfer(io_dir, bucket)?, &key, to).await?;
        }
        Ok(())
    }

    /// The record that this attempt at the job left in the bucket when it ended, if it did.
    async fn find_saved_record(&self, record: &Record, job: &Job) -> Result<Option<Record>> {
        let folder = JobFolder::for_record(record)?;
        let (Some(own), Some(group)) = (&job.bucket, &job.group) else { return Ok(None) };
        let result_path = record.text("resultpath");
        let (bucket, prefix) = self.buckets.find_results(own, group, &job.id, result_path).await?;
        let path = folder.record_file();
        let path = path.strip_prefix(folder.root()).unwrap_or(&path).to_string_lossy();
        let saved = saved_record::read(&bucket, &Key::new(format!("{prefix}{path}"))?).await?;
        Ok(saved.filter(|saved| folder.is_of_this_attempt(saved) && saved.identity() == record.identity()))
    }

    /// Clears the io-dir of a job's group, once in a run of the verb.
    async fn clear_io_dir(&self, io_dir: &str, job: &Job) -> Result<()> {
        let (Some(group), Some(address)) = (&job.group, &job.bucket) else { return Ok(()) };
        if self.cleared.borrow_mut().insert(io_dir.to_owned()) {
            let bucket = self.buckets.open(address).await?;
            remove_leftovers(&bucket, group, &make_group_io_dir(Path::new(io_dir))?).await?;
        }
        Ok(())
    }

    fn transfer(&self, io_dir: &str, bucket: Bucket) -> Result<Transfer> {
        let mut transfers = self.transfers.borrow_mut();
        let identity = (io_dir.to_owned(), bucket.address().to_owned());
        if let Some(transfer) = transfers.get(&identity) {
            return Ok(transfer.clone());
        }
        let transfer = Transfer::new(bucket, make_group_io_dir(Path::new(io_dir))?, "", self.reread);
        transfers.insert(identity, transfer.clone());
        Ok(transfer)
    }
}

/// Copies how a job ended from its saved record. The bucket's content is data that others can write: it does not choose
/// a container, a path of this machine or a bucket.
fn copy_end(saved: &Record, record: &mut Record) -> Result<()> {
    let folder = JobFolder::for_record(record)?;
    record.copy_end(saved);
    if let (Some(mut container), Some(name)) = (record.container(), record.container_name()?) {
        container.id = String::new();
        container.name = name;
        record.set("container", &container);
    }
    if let Some(mut logs) = saved.logs() {
        logs.dir = folder.logs().to_string_lossy().into_owned();
        record.set("logs", &logs);
    }
    record.set("pushed", &true);
    Ok(())
}

/// Downloads an object, or a whole folder, to a path in the transfer's folder.
pub(crate) async fn download_input(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    if key.is_folder() { download_folder(transfer, key, to).await } else { download_object(transfer, key, to).await }
}

async fn download_object(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    match transfer.bucket().head(key).await? {
        Some(entry) => download_current(transfer, entry, to).await,
        None => Err(not_found(transfer.bucket(), key).await?),
    }
}

/// Downloads an object, and starts again if it was replaced while it was read.
async fn download_current(transfer: &Transfer, mut entry: ObjectInfo, to: &Path) -> Result<()> {
    let mut reads = 1;
    loop {
        let failure = match transfer.download_if_changed(&entry, to, None).await {
            Err(failure) if failure.kind == Kind::ChecksumMismatch && reads < MAX_READS => failure,
            downloaded => return downloaded.map(drop),
        };
        match transfer.bucket().head(&entry.key).await? {
            Some(newer) if newer != entry => entry = newer,
            _ => return Err(failure),
        }
        reads += 1;
    }
}

async fn download_folder(transfer: &Transfer, key: &Key, to: &Path) -> Result<()> {
    let mut listing = transfer.bucket().list(key.as_str(), None);
    let mut found = false;
    while let Some(page) = listing.next_page().await? {
        // A part of a dataset must not be taken for the whole.
        if let Some(unusable) = page.unusable.into_iter().next() {
            return Err(unusable.why);
        }
        found |= !page.entries.is_empty();
        let downloads = page.entries.into_iter().map(|entry| async move {
            let rest = entry.key.as_str().strip_prefix(key.as_str()).unwrap_or_default();
            let to = if rest.is_empty() { to.to_owned() } else { to.join(rest) };
            if entry.key.is_folder() {
                transfer.folder().create_folder(&to)
            } else {
                download_current(transfer, entry, &to).await
            }
        });
        stream::iter(downloads).buffer_unordered(DEFAULT_FILES).try_collect::<()>().await?;
    }
    if found { Ok(()) } else { Err(not_found(transfer.bucket(), key).await?) }
}

async fn not_found(bucket: &Bucket, key: &Key) -> Result<Failure> {
    let hint = format!("`ncaas-submit ls {}` lists the bucket's submissions", bucket.address());
    Ok(bucket.missing(key).await?.hint(hint))
}
