//! A submission's job in its bucket: where it lies, and how it stands.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::certificate::{Certificate, Line};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{self, CANCEL, CERTIFICATE, END_FILE, LOGS, PROCESS_RESULTS};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Status;
use serde::Serialize;

use crate::claim::{self, Claim};

/// How the name of a saved record ends.
const RECORD: &str = ".record.json";

/// A saved record lists its results: 300,000 of them, as a line may.
const LARGEST_RECORD: u64 = 64 << 20;

/// A certificate holds a line for each dataset, and the set-up log.
const LARGEST_CERTIFICATE: u64 = 16 << 20;

/// A job of a bucket's group.
#[derive(Debug, Clone)]
pub(crate) struct BucketJob {
    pub(crate) bucket: Bucket,
    pub(crate) group: String,
    pub(crate) id: String,
    /// Where results, logs and `end.txt` go.
    pub(crate) results: Folder,
}

/// A job's folder for results: the group's own, or where the submission's `resultpath` says.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    bucket: Bucket,
    /// Ends in `/`.
    prefix: String,
}

impl Folder {
    /// The folder for a submission's results.
    ///
    /// # Errors
    /// When the bucket of its `resultpath` cannot be opened.
    pub(crate) async fn of(bucket: &Bucket, group: &str, id: &str, result_path: Option<&str>) -> Result<Self> {
        let Some(address) = result_path.map(S3Address::parse).transpose()?.flatten() else {
            return Ok(Folder { bucket: bucket.clone(), prefix: layout::job_prefix(group, id) });
        };
        let prefix = format!("{}/{id}/", address.key.trim_end_matches('/'));
        let name = format!("s3://{}", address.bucket);
        let bucket = if name == bucket.address() { bucket.clone() } else { Bucket::open(&name).await? };
        Ok(Folder { bucket, prefix })
    }

    fn key(&self, path: &str) -> Result<Key> {
        Key::new(format!("{}{path}", self.prefix))
    }

    /// When the whole job ended; none while it has not.
    pub(crate) async fn ended_at(&self) -> Result<Option<Timestamp>> {
        let end = self.key(&format!("{PROCESS_RESULTS}/{END_FILE}"))?;
        Ok(self.bucket.head(&end).await?.map(|entry| entry.modified))
    }

    /// The saved records of the datasets that have ended, by dataset.
    pub(crate) async fn saved_records(&self) -> Result<BTreeMap<u64, Record>> {
        let mut records = BTreeMap::new();
        for key in self.saved_record_keys().await? {
            let line = match self.bucket.read(&key, LARGEST_RECORD).await {
                Ok((line, _)) => line,
                Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => continue,
                Err(failure) => return Err(failure),
            };
            if let Ok(record) = Record::parse(&line)
                && let Some(job) = record.job()
            {
                records.insert(job.dataset, record);
            }
        }
        Ok(records)
    }

    async fn saved_record_keys(&self) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        let mut listing = self.bucket.list_folder(&format!("{}{LOGS}/", self.prefix), None);
        while let Some(page) = listing.next_page().await? {
            keys.extend(page.entries.into_iter().map(|entry| entry.key).filter(|key| key.as_str().ends_with(RECORD)));
        }
        Ok(keys)
    }

    /// What the certificate says of the datasets, in their order; nothing before there is one.
    pub(crate) async fn certificate(&self) -> Result<Vec<Line>> {
        match self.bucket.read(&self.key(&format!("{LOGS}/{CERTIFICATE}"))?, LARGEST_CERTIFICATE).await {
            Ok((content, _)) => Ok(Certificate::parse(&String::from_utf8_lossy(&content)).lines()),
            Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// Removes what says that the job, or a dataset of it, has ended.
    pub(crate) async fn forget_the_end(&self) -> Result<()> {
        // The end first: a job whose records are gone must not look as if it had ended.
        self.bucket.delete(&self.key(&format!("{PROCESS_RESULTS}/{END_FILE}"))?).await?;
        for key in self.saved_record_keys().await? {
            self.bucket.delete(&key).await?;
        }
        Ok(())
    }
}

impl BucketJob {
    /// The key of what is in the job's own folder.
    pub(crate) fn key(&self, name: &str) -> Result<Key> {
        Key::new(format!("{}{name}", layout::job_prefix(&self.group, &self.id)))
    }

    /// The claim on the job, where there is one.
    pub(crate) async fn claim(&self) -> Result<Option<Claim>> {
        claim::read(&self.bucket, &claim::key(&self.group, &self.id)?).await
    }

    /// When it was cancelled, if it was.
    pub(crate) async fn cancelled_at(&self) -> Result<Option<Timestamp>> {
        Ok(self.bucket.head(&self.key(CANCEL)?).await?.map(|entry| entry.modified))
    }

    /// How the job stands now.
    pub(crate) async fn standing(&self) -> Result<Standing> {
        let ended_at = self.results.ended_at().await?;
        let claim = self.claim().await?.filter(|claim| !claim.is_free());
        let saved = self.results.saved_records().await?;
        let certificate = if ended_at.is_none() { self.results.certificate().await? } else { Vec::new() };
        let cancelled = self.cancelled_at().await?.is_some();
        let state = match ended_at {
            Some(_) => State::of_ended(saved.values()),
            None if cancelled => State::Cancelled,
            None if !certificate.is_empty() => State::Running,
            None if claim.is_some() => State::Claimed,
            None => State::Waiting,
        };
        Ok(Standing { state, claim, ended_at, saved, certificate })
    }
}

/// How a job stands.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) claim: Option<Claim>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) saved: BTreeMap<u64, Record>,
    pub(crate) certificate: Vec<Line>,
}

/// How a job stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// No watcher has it yet.
    Waiting,
    /// A watcher has handed it on, and no job of it runs yet.
    Claimed,
    /// At least one of its jobs has begun.
    Running,
    /// All its jobs have ended, with success.
    Success,
    /// All its jobs have ended, one of them at least without success.
    Failed,
    /// It breaks the platform's rules: nothing was run.
    Refused,
    /// It was cancelled.
    Cancelled,
}

impl State {
    fn of_ended<'r>(saved: impl Iterator<Item = &'r Record> + Clone) -> Self {
        let has = |kind| saved.clone().any(|record| record.error().is_some_and(|error| error.kind == kind));
        if has(Kind::BadSubmission) {
            State::Refused
        } else if has(Kind::Cancelled) {
            State::Cancelled
        } else if saved.clone().any(Record::is_failed) {
            State::Failed
        } else {
            State::Success
        }
    }
}

/// The state of one dataset's job that has ended.
pub(crate) fn status_of(record: &Record) -> String {
    match record.container().and_then(|container| container.status) {
        Some(status) if !record.has_error() => status_name(status),
        _ => record.error().map_or_else(|| "unknown".to_owned(), |error| error.kind.name()),
    }
}

fn status_name(status: Status) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{status:?}"),
    }
}
