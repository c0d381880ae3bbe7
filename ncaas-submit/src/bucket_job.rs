//! The folders of a submission's job in its bucket, and their contents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Buckets, Key, ObjectInfo};
use ncaas_core::cancellation;
use ncaas_core::certificate::{self, Certificate, DatasetLine, DatasetStatus};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::{
    self, CERTIFICATE, END_CONTENT, END_PATH, LOG_SUFFIX, LOGS, PROCESS_RESULTS, RECORD_SUFFIX, RESULTS_SUFFIX,
    STATUS_SUFFIX, SUBMIT_SUFFIX, path_in_job,
};
use ncaas_core::outcome::{results_path, shown_path};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, ResultFile, SetupEvent};
use ncaas_core::saved_record;
use ncaas_core::status_file::{self, ReadStatus, StatusFile};
use ncaas_core::text::strip_folder;

use crate::job_state::JobFacts;
use crate::submission::{self, AllowedKeys, Submission};

/// How many results are removed at once.
const AT_ONCE: usize = 16;

/// Fields of a saved record that describe the machine that its job ran on, and mean nothing on another one.
pub(crate) const MACHINE_FIELDS: [&str; 2] = ["io_dir", "logs"];

/// A job of a bucket's group.
#[derive(Debug, Clone)]
pub(crate) struct BucketJob {
    pub(crate) bucket: Bucket,
    pub(crate) group: String,
    pub(crate) id: String,
    /// Where results, logs and `end.txt` go.
    pub(crate) results: ResultsFolder,
}

impl BucketJob {
    pub(crate) async fn for_record(record: &Record, buckets: &Buckets) -> Result<Self> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        let (Some(address), Some(group)) = (job.bucket, job.group) else {
            return Err(Failure::new(Kind::BadRecord, format!("`{}` is not a job from a bucket", job.id)));
        };
        layout::check_group(&group)?;
        let bucket = buckets.open(&address).await?;
        let result_path = match record.text("resultpath") {
            Some(path) => Some(path.to_owned()),
            None => result_path_of_claim(&bucket, &group, &job.id).await?,
        };
        let results = ResultsFolder::find(buckets, &bucket, &group, &job.id, result_path.as_deref()).await?;
        Ok(BucketJob { bucket, group, id: job.id, results })
    }

    /// The job of a submission whose submit file is `entry`.
    pub(crate) async fn for_submission(
        bucket: &Bucket,
        buckets: &Buckets,
        entry: &ObjectInfo,
        group: String,
        submission: &Submission,
    ) -> Result<Self> {
        let id = submission.timestamp.as_deref().and_then(|timestamp| layout::job_id(bucket.name(), timestamp).ok());
        let own_id = || id_without_timestamp(bucket, &entry.key);
        let (id, result_path) = match id {
            // A submission whose timestamp was already used has another folder.
            Some(id) => match claim::read(bucket, &group, &id).await? {
                Some((claim, _)) if claim.submission != entry.key.as_str() => (own_id(), None),
                _ => (id, submission.result_path.as_deref()),
            },
            None => (own_id(), submission.result_path.as_deref()),
        };
        let results = ResultsFolder::find(buckets, bucket, &group, &id, result_path).await?;
        Ok(BucketJob { bucket: bucket.clone(), group, id, results })
    }

    pub(crate) async fn is_cancelled(&self) -> Result<bool> {
        cancellation::has_marker(&self.bucket, &self.group, &self.id).await
    }

    /// Reads everything that the state of the job follows from.
    pub(crate) async fn facts(&self) -> Result<JobFacts> {
        let ended_at = self.results.ended_at().await?;
        let claim = claim::read(&self.bucket, &self.group, &self.id).await?;
        let mut saved = self.results.saved_records().await?;
        // After a `retry`, the files of the earlier run stay until the next run starts.
        let is_earlier = |record: &Record| attempt_of(record) < claim.as_ref().map_or(1, |(claim, _)| claim.attempt);
        let is_retried = saved.values().any(is_earlier);
        saved.retain(|_, record| !is_earlier(record));
        // A job without saved records was run by the platform: its certificate and status files say how it ended.
        let is_on_platform = ended_at.is_some() && saved.is_empty();
        // A released submission is waiting, even if its earlier run has written a certificate.
        let is_released = claim.as_ref().is_some_and(|(claim, _)| claim.is_free());
        let reads_certificate = ended_at.is_none() && !is_retried && !is_released || is_on_platform;
        Ok(JobFacts {
            claim: claim.map(|(claim, _)| claim).filter(|claim| !claim.is_free()),
            certificate: if reads_certificate { self.results.certificate().await? } else { Vec::new() },
            has_failed_status: is_on_platform && self.results.has_failed_status().await?,
            is_cancelled: self.is_cancelled().await?,
            is_watcher_lost: false,
            ended_at,
            saved,
        })
    }
}

/// The folder of a job's results: in the group, or where the submission's `resultpath` says.
#[derive(Debug, Clone)]
pub(crate) struct ResultsFolder {
    bucket: Bucket,
    /// Ends in `/`.
    prefix: String,
}

impl ResultsFolder {
    pub(crate) async fn find(
        buckets: &Buckets,
        own: &Bucket,
        group: &str,
        id: &str,
        result_path: Option<&str>,
    ) -> Result<Self> {
        let (bucket, prefix) = buckets.find_results(own.address(), group, id, result_path).await?;
        Ok(ResultsFolder { bucket, prefix })
    }

    /// The path or address of a dataset's log.
    pub(crate) fn log(&self, label: &str) -> PathBuf {
        PathBuf::from(self.address(&format!("{LOGS}/{label}{LOG_SUFFIX}")))
    }

    /// The path or address of the folder with the results of a record's dataset.
    pub(crate) fn folder(&self, record: &Record) -> String {
        shown_path(Path::new(&self.address(&results_path(record).to_string_lossy())))
    }

    fn address(&self, path: &str) -> String {
        format!("{}/{}{path}", self.bucket.address().trim_end_matches('/'), self.prefix)
    }

    fn key(&self, path: &str) -> Result<Key> {
        Key::new(format!("{}{path}", self.prefix))
    }

    /// When the last dataset ended; none before.
    pub(crate) async fn ended_at(&self) -> Result<Option<Timestamp>> {
        Ok(self.bucket.head(&self.end_key()?).await?.map(|entry| entry.modified))
    }

    /// The saved records of the datasets that have ended, by dataset.
    pub(crate) async fn saved_records(&self) -> Result<BTreeMap<u64, Record>> {
        let mut records = BTreeMap::new();
        for key in self.saved_record_keys().await? {
            if let Some(record) = saved_record::read(&self.bucket, &key).await?
                && let Some(job) = record.job()
            {
                records.insert(job.dataset, record);
            }
        }
        Ok(records)
    }

    /// The saved record of the dataset with that label; none before it has ended.
    pub(crate) async fn saved_record(&self, label: &str) -> Result<Option<Record>> {
        let key = self.key(&format!("{LOGS}/{label}{RECORD_SUFFIX}"))?;
        Ok(saved_record::read(&self.bucket, &key).await?.filter(|record| record.job().is_some()))
    }

    /// The keys of the saved records: one for each dataset that has ended.
    pub(crate) async fn saved_record_keys(&self) -> Result<Vec<Key>> {
        saved_record::list(&self.bucket, &self.prefix).await
    }

    async fn log_keys(&self, suffix: &str) -> Result<Vec<Key>> {
        let logs = self.bucket.list_folder(&format!("{}{LOGS}/", self.prefix), None).entries().await?.into_iter();
        Ok(logs.map(|entry| entry.key).filter(|key| key.as_str().ends_with(suffix)).collect())
    }

    /// The certificate's lines about the datasets, in their order; none before there is a certificate.
    pub(crate) async fn certificate(&self) -> Result<Vec<DatasetLine>> {
        Ok(Certificate::parse(&self.certificate_text().await?.unwrap_or_default()).lines())
    }

    async fn certificate_text(&self) -> Result<Option<String>> {
        let content = self.bucket.read(&self.key(&format!("{LOGS}/{CERTIFICATE}"))?, certificate::MAX_SIZE).await;
        let content = content.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
        Ok(content.map(|(content, _)| String::from_utf8_lossy(&content).into_owned()))
    }

    /// Whether there is a certificate that these tools did not write. Theirs names the saved records.
    pub(crate) async fn has_foreign_certificate(&self) -> Result<bool> {
        Ok(self.certificate_text().await?.is_some_and(|text| !text.contains(RECORD_SUFFIX)))
    }

    /// Writes a certificate for datasets that have not started, unless there is one: without it the platform's client
    /// shows invented names, and the status SUCCESS.
    pub(crate) async fn create_certificate(&self, datanames: &[String], setup: &[SetupEvent]) -> Result<()> {
        let mut certificate = Certificate::default();
        certificate.add_datasets(datanames, 1);
        certificate.set_setup(setup);
        let key = self.key(&format!("{LOGS}/{CERTIFICATE}"))?;
        self.bucket.put_new(&key, certificate.to_string()).await.map(drop)
    }

    /// Writes the status file of a dataset that has not started, unless there is one.
    pub(crate) async fn create_status_file(&self, label: &str, dataname: &str) -> Result<()> {
        let key = self.key(&format!("{LOGS}/{}", layout::status_file_name(label)))?;
        self.bucket.put_new(&key, StatusFile::initializing(dataname).to_json()).await.map(drop)
    }

    /// Whether a status file says that its dataset failed.
    async fn has_failed_status(&self) -> Result<bool> {
        for key in self.log_keys(STATUS_SUFFIX).await? {
            let content = self.bucket.read(&key, status_file::MAX_SIZE).await;
            let content = content.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
            let status = content.and_then(|(content, _)| ReadStatus::parse(&content));
            if status.is_some_and(|status| status.status == DatasetStatus::Failed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The results of a record that has too many to list them itself; none if their list is missing.
    async fn listed_results(&self, record: &Record) -> Result<Vec<ResultFile>> {
        let Some(file) = record.results_file() else { return Ok(Vec::new()) };
        let key = self.key(&path_in_job(&file.path).to_string_lossy())?;
        let read = self.bucket.read(&key, file.size).await.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
        let content = read.map(|(content, _)| content).unwrap_or_default();
        Ok(content.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Deletes objects below the folders of results and logs. Whoever may write to the group can put any path into a
    /// record.
    async fn delete_results(&self, paths: impl Iterator<Item = &str>) -> Result<()> {
        let keys = paths.filter_map(|path| {
            let is_result = [PROCESS_RESULTS, LOGS].iter().any(|folder| strip_folder(path, folder).is_some());
            self.key(path).ok().filter(|_| is_result)
        });
        let deletions = keys.map(async |key| self.bucket.delete(&key).await.map(drop));
        stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await
    }

    fn end_key(&self) -> Result<Key> {
        self.key(END_PATH)
    }

    /// Removes the file that shows that the job has ended.
    pub(crate) async fn remove_end(&self) -> Result<()> {
        self.bucket.delete(&self.end_key()?).await.map(drop)
    }

    /// Writes the file that shows that the job has ended.
    pub(crate) async fn restore_end(&self) -> Result<()> {
        self.bucket.put_new(&self.end_key()?, END_CONTENT).await.map(drop)
    }

    /// The attempt whose run has left saved records, if that is before `attempt`.
    pub(crate) async fn earlier_attempt(&self, attempt: u64) -> Result<Option<u64>> {
        if attempt <= 1 {
            return Ok(None);
        }
        let saved = self.saved_records().await?;
        Ok(saved.values().map(attempt_of).max().filter(|latest| *latest < attempt))
    }

    /// Removes the files that show that a dataset of the job has started or ended, and then the results that the records
    /// list. After a kill in between, results without a record remain: no run is taken for complete whose results are
    /// not.
    pub(crate) async fn remove_run(&self) -> Result<()> {
        let mut paths = BTreeSet::new();
        for record in self.saved_records().await?.values() {
            let results = record.results().unwrap_or_default().into_iter().chain(self.listed_results(record).await?);
            // The copy of the config is none of them, even if the job wrote the same file.
            let config = record.text("configname").map(layout::config_copy);
            let results = results.map(|result| path_in_job(&result.path).to_string_lossy().into_owned());
            paths.extend(results.filter(|path| Some(path) != config.as_ref()));
        }
        for suffix in [STATUS_SUFFIX, CERTIFICATE, RECORD_SUFFIX, RESULTS_SUFFIX] {
            for key in self.log_keys(suffix).await? {
                self.bucket.delete(&key).await?;
            }
        }
        self.delete_results(paths.iter().map(String::as_str)).await?;
        if self.bucket.as_s3().is_none() {
            // A folder stays when its objects have gone, and no object can have its name.
            let folders = paths.iter().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..=end]));
            for folder in folders.collect::<BTreeSet<_>>().into_iter().rev() {
                self.delete_results([folder].into_iter()).await?;
            }
        }
        Ok(())
    }
}

/// The attempt that a record belongs to.
pub(crate) fn attempt_of(record: &Record) -> u64 {
    record.job().map_or(1, |job| job.attempt_number())
}

/// The `resultpath` of a job's submission, found through the job's claim; none while no watcher has claimed it.
async fn result_path_of_claim(bucket: &Bucket, group: &str, id: &str) -> Result<Option<String>> {
    let Some((claim, _)) = claim::read(bucket, group, id).await? else { return Ok(None) };
    let Ok(key) = Key::new(claim.submission) else { return Ok(None) };
    let read = bucket.read(&key, submission::MAX_SIZE).await.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
    // The watcher has accepted it: it is not judged again.
    let read = read.map(|(content, _)| Submission::read(&content, &AllowedKeys::everywhere(bucket.address(), group)));
    Ok(read.and_then(|submission| submission.result_path))
}

/// The job of a submission.
pub(crate) fn submitted_job(bucket: &Bucket, submit_file: &Key, id: String, timestamp: Option<String>) -> Job {
    Job {
        id,
        bucket: Some(bucket.address().to_owned()),
        group: Some(submit_file.group().to_owned()),
        submission: Some(submit_file.as_str().to_owned()),
        timestamp,
        ..Job::default()
    }
}

/// The job id of a submission that has no usable timestamp: made from the submit file's name.
pub(crate) fn id_without_timestamp(bucket: &Bucket, submit_file: &Key) -> String {
    let name = submit_file.base_name();
    let stem = name.strip_suffix(SUBMIT_SUFFIX).unwrap_or(name).trim_end_matches(['_', '-', '.']);
    let stem = if stem.is_empty() { "submit" } else { stem };
    let hash = layout::short_hash(submit_file.as_str());
    let analysis = bucket.name();
    // The name alone can be too long, or have characters that a job id cannot have.
    layout::job_id(analysis, &format!("{stem}_{hash}")).unwrap_or_else(|_| format!("job__{analysis}_refused_{hash}"))
}
