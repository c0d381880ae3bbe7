//! Uploads one job's results and logs to its folder in the bucket.
//!
//! Readers rely on the order: results, then logs, then the saved record, which says that the job is complete, and last
//! `end.txt`, when every dataset of the submission is complete. The claim is checked before each object: superseded
//! work writes nothing more.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Buckets, Key, ObjectInfo};
use ncaas_core::certificate::{self, Certificate};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::layout::{CERTIFICATE, CONFIGS, END_PATH, JobFolder, LOGS, PROCESS_RESULTS, path_in_job};
use ncaas_core::lease;
use ncaas_core::outcome::results_path;
use ncaas_core::pipe::Output;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::status_file::{self, ReadStatus};
use ncaas_core::text::shell_line;
use ncaas_core::tool::Tool;
use ncaas_core::usage_record::usage_record;

use super::fence::Fence;
use super::stop_cancelled::{CancelledJobs, SubmissionName, submission_name};
use crate::args::DEFAULT_FILES;
use crate::end_file;
use crate::result_list::{ResultList, describe_results_of_run};
use crate::transfer_report::{FileOutcome, FileRecord};
use ncaas_core::blocking::run_blocking;
use ncaas_core::file_stamp::FileStamp;
use ncaas_core::transfer::{Sha256Sum, Transfer, parse_sha256};

pub(crate) struct Pusher<'p> {
    pub(crate) tool: Tool,
    pub(crate) buckets: Buckets,
    pub(crate) running: CancelledJobs,
    /// For records without an io-dir.
    pub(crate) io_dir: &'p Path,
    /// Write a record for each file.
    pub(crate) files: bool,
    pub(crate) counts: PushedJobs,
    /// The submissions whose end was checked because records show that the bucket has their jobs.
    pub(crate) completed: RefCell<HashSet<SubmissionName>>,
    /// The submissions of which a job could not be run.
    pub(crate) failed: RefCell<HashSet<SubmissionName>>,
}

/// Numbers of jobs.
#[derive(Debug, Default)]
pub(crate) struct PushedJobs {
    with_bucket: Cell<u64>,
    without_bucket: Cell<u64>,
}

impl Pusher<'_> {
    /// Uploads what a record's job has so far.
    pub(crate) async fn push(&self, record: &mut Record, output: &Output) -> Result<()> {
        let has_failed = record.has_error();
        let has_ended = record.container().is_some_and(|container| container.has_ended());
        if has_ended || has_failed {
            self.running.remove(record);
        }
        let Some(job) = record.job().filter(|job| job.bucket.is_some() && job.group.is_some()) else {
            // The results of a job from arguments stay in its io-dir.
            self.counts.without_bucket.set(self.counts.without_bucket.get() + 1);
            return if has_failed || record.job().is_some() { Ok(()) } else { Err(Failure::missing_field("job")) };
        };
        self.counts.with_bucket.set(self.counts.with_bucket.get() + 1);
        let is_superseded = record.error().is_some_and(|error| error.kind == Kind::Superseded);
        let is_completed = || record.is_pushed() && self.completed.borrow().contains(&submission_name(&job));
        if is_superseded || record.is_placed() || is_completed() {
            return Ok(());
        }
        match self.push_job(record, &job, output, has_ended || has_failed).await {
            // The bucket has the job. The watcher that now has the claim writes the end of its submission.
            Err(failure) if failure.kind == Kind::Superseded && record.is_pushed() => Ok(()),
            pushed => pushed,
        }
    }

    /// Uploads what a job from a bucket has so far, and with `is_last` all of it.
    async fn push_job(&self, record: &mut Record, job: &Job, output: &Output, is_last: bool) -> Result<()> {
        let fence = Fence::new(self.buckets.open(job.bucket.as_deref().unwrap_or_default()).await?, job.clone());
        fence.check().await?;
        fill_io_dir(record, self.io_dir)?;
        let folder = JobFolder::for_record(record)?;
        let (Some(own), Some(group)) = (&job.bucket, &job.group) else { return Ok(()) };
        let result_path = record.text("resultpath");
        let (bucket, prefix) = self.buckets.find_results(own, group, &job.id, result_path).await?;
        let transfer = Transfer::without_index(bucket, folder.open()?);
        let transfer = if is_last { transfer } else { transfer.for_growing_files() };
        let upload = JobUpload { pusher: self, output, transfer, prefix, folder, fence };
        if record.is_pushed() {
            // A pipe that was killed after its last saved record has written no end. Once for each submission: the end
            // of a dataset that is still open checks again.
            upload.end(job).await?;
            self.completed.borrow_mut().insert(submission_name(job));
            return Ok(());
        }
        if record.error().is_some_and(|error| error.kind.is_transient()) {
            upload.push_certificate(record).await?;
            return self.release_claim(record, job).await;
        }
        if !is_last {
            self.running.add(record, job, &upload.folder);
            return upload.push_logs(record).await;
        }
        upload.check_log_is_saved(record)?;
        if let Some(warning) = upload.push_results(record).await? {
            self.tool.note(&format!("`{}`: {warning}", upload.folder.label()));
            record.warn(warning);
        }
        upload.push_logs(record).await?;
        upload.push_results_file(record).await?;
        upload.push_usage_record(record).await?;
        upload.push_file(&upload.relative(&upload.folder.record_file()), None, None).await?;
        upload.end(job).await?;
        record.set("pushed", &true);
        self.note_failed_submission(record, job);
        Ok(())
    }

    /// Prints, once for each submission, how to run it again if one of its jobs could not be run. A refused submit file
    /// has a hint of another kind.
    fn note_failed_submission(&self, record: &Record, job: &Job) {
        let could_run = record.error().is_none_or(|error| matches!(error.kind, Kind::Cancelled | Kind::BadSubmission));
        let (Some(bucket), Some(group)) = (&job.bucket, &job.group) else { return };
        if could_run || record.container().is_some() || !self.failed.borrow_mut().insert(submission_name(job)) {
            return;
        }
        let command = shell_line(["ncaas-submit", "retry", &format!("{bucket}/{group}"), &job.id]);
        self.tool.note(&format!("`{}` failed: correct the cause, and run it again with `{command}`", job.id));
    }

    /// Reports jobs that do not come from a bucket. The exit status is 1 if there were no others.
    pub(crate) fn report_without_bucket(&self, output: &Output) {
        let count = self.counts.without_bucket.get();
        if count == 0 {
            return;
        }
        self.tool.note(&if count == 1 {
            "1 job does not come from a bucket: its results stay in the io-dir".to_owned()
        } else {
            format!("{count} jobs do not come from a bucket: their results stay in the io-dir")
        });
        if self.counts.with_bucket.get() == 0 {
            output.note_undone();
        }
    }

    /// Lets a job with a transient failure run again: by its watcher if that runs on this machine, else by
    /// the next watcher that finds its claim free.
    async fn release_claim(&self, record: &Record, job: &Job) -> Result<()> {
        let (Some(bucket), Some(group), Some(error)) = (&job.bucket, &job.group, record.error()) else { return Ok(()) };
        let has_results =
            error.kind == Kind::DiskFull && record.container().is_some_and(|container| container.has_ended());
        if lease::request_retry(record, error.kind, &error.message, has_results)? {
            return Ok(());
        }
        let bucket = self.buckets.open(bucket).await?;
        claim::release(&bucket, group, &job.id, |claim| !claim.supersedes(job)).await
    }
}

/// Requests the record of an ended job again if a later upload may succeed. A running job emits its next record anyway.
pub(super) fn retry_later(record: &Record, failure: &Failure) -> Result<()> {
    let has_ended = record.has_error() || record.container().is_some_and(|container| container.has_ended());
    if has_ended && lease::will_retry(record, failure) {
        lease::request_retry(record, failure.kind, &failure.message, !record.has_error())?;
    }
    Ok(())
}

struct JobUpload<'p> {
    pusher: &'p Pusher<'p>,
    output: &'p Output,
    /// From the job's folder on this machine to its bucket.
    transfer: Transfer,
    /// Prefix of the job's folder in the bucket; ends in `/`.
    prefix: String,
    folder: JobFolder,
    fence: Fence,
}

impl JobUpload<'_> {
    /// Fails if the files of an ended job do not say how it ended, which `ncaas-logs save` writes. Otherwise the bucket
    /// would have the end of the submission beside a certificate that shows the job as starting for ever.
    fn check_log_is_saved(&self, record: &Record) -> Result<()> {
        let folder = self.transfer.folder();
        let container = record.container().map(|container| container.id);
        let is_of_job = |status: &ReadStatus| status.instance.is_none() || status.instance == container;
        let status = folder.read(&self.relative(&self.folder.status_file()), status_file::MAX_SIZE);
        let is_saved = status.is_some_and(|content| {
            ReadStatus::parse(&content).is_none_or(|status| status.status.is_final() && is_of_job(&status))
        });
        if is_saved && folder.has(&self.relative(&self.folder.record_file())) {
            return Ok(());
        }
        let message = format!("cannot push `{}`: the log of `{}` was not saved", self.folder.id(), self.folder.label());
        Err(Failure::new(Kind::FileNotFound, message)
            .hint("put `ncaas-logs save` before `ncaas-sync collect`, in place of `ncaas-exec wait`, and run the same pipe again"))
    }

    /// Writes the end of the submission if all its datasets have ended.
    async fn end(&self, job: &Job) -> Result<()> {
        self.fence.write(async || end_file::write_if_all_ended(&self.transfer, &self.prefix, job).await).await
    }

    /// Uploads the job's results, and the config beside them. A file that fails does not hold up the others. Returns the
    /// warning about results of an earlier run in the bucket, which another machine has pushed.
    async fn push_results(&self, record: &Record) -> Result<Option<String>> {
        let (folder, copy) = (Arc::clone(self.transfer.folder()), record.clone());
        let mut results = run_blocking(move || ResultList::open(&copy, &folder)).await?.peekable();
        let config = self.config_path(record);
        if results.peek().is_none() && config.is_none() {
            return Ok(None);
        }
        let existing = &self.list_existing().await?;
        let unseen = &RefCell::new(self.existing_results(record, existing));
        let is_result = Cell::new(false);
        let files = results.map(|result| {
            let result = result?;
            let path = path_in_job(&result.path).to_string_lossy().into_owned();
            is_result.set(is_result.get() || config.as_ref() == Some(&path));
            Ok((path, result.sha256.as_deref().and_then(parse_sha256)))
        });
        let config = std::iter::once_with(|| config.clone().filter(|_| !is_result.get()).map(|path| Ok((path, None))));
        let uploads = files.chain(config.flatten()).map(|file: Result<(String, Option<Sha256Sum>)>| async move {
            let (path, sha256) = file?;
            unseen.borrow_mut().remove(Path::new(&path));
            self.push_result(&path, existing.get(&path), sha256).await
        });
        let (mut first, mut failed) = (None, 0_u64);
        let mut uploads = pin!(stream::iter(uploads).buffer_unordered(DEFAULT_FILES));
        while let Some(outcome) = uploads.next().await {
            if let Err(failure) = outcome {
                failed += 1;
                first.get_or_insert(failure);
            }
        }
        match first {
            None => {
                let unseen = unseen.borrow();
                let place = ["is still in the bucket", "are still in the bucket"];
                Ok(describe_results_of_run("from an earlier run of this job", unseen.iter().copied(), place))
            }
            Some(failure) if failed == 1 => Err(failure),
            Some(failure) => {
                Err(failure.context(format!("cannot push {}; the first failure", format_count(failed, "file"))))
            }
        }
    }

    /// The path of the config beside the results, if it is there.
    fn config_path(&self, record: &Record) -> Option<String> {
        let config = inputs::locate(record, record.text("configname")?, CONFIGS).ok()?;
        let path = format!("{PROCESS_RESULTS}/{}", config.host.file_name()?.to_str()?);
        self.transfer.folder().has(Path::new(&path)).then_some(path)
    }

    /// Uploads the file that lists the results, if the record names one.
    async fn push_results_file(&self, record: &Record) -> Result<()> {
        match record.results_file() {
            Some(listed) => self.push_file(path_in_job(&listed.path), None, parse_sha256(&listed.sha256)).await,
            None => Ok(()),
        }
    }

    /// The objects in the job's folder in the bucket, by path.
    async fn list_existing(&self) -> Result<HashMap<String, ObjectInfo>> {
        let entries = self.transfer.bucket().list(&self.prefix, None).entries().await?.into_iter();
        let path = |entry: &ObjectInfo| entry.key.as_str().strip_prefix(&self.prefix).unwrap_or_default().to_owned();
        Ok(entries.map(|entry| (path(&entry), entry)).collect())
    }

    /// Which of these objects are results of the record's dataset that this machine does not have.
    fn existing_results<'e>(&self, record: &Record, existing: &'e HashMap<String, ObjectInfo>) -> HashSet<&'e Path> {
        let results = results_path(record);
        let is_result = |path: &&Path| path.starts_with(&results) && *path != Path::new(END_PATH);
        // In a directory, empty folders are listed too.
        let objects = existing.keys().filter(|path| !path.ends_with('/'));
        objects.map(Path::new).filter(is_result).filter(|path| !self.transfer.folder().has(path)).collect()
    }

    async fn push_result(&self, path: &str, existing: Option<&ObjectInfo>, sha256: Option<Sha256Sum>) -> Result<()> {
        // The platform's poller downloads every key as a file and stops at the key of a folder.
        if path.ends_with('/') { Ok(()) } else { self.push_file(Path::new(path), existing, sha256).await }
    }

    /// Uploads the dataset's log and status file, and the certificate.
    async fn push_logs(&self, record: &Record) -> Result<()> {
        for path in [self.folder.log_file(), self.folder.status_file()] {
            let path = self.relative(&path);
            if self.transfer.folder().has(&path) {
                self.push_file(&path, None, None).await?;
            }
        }
        self.push_certificate(record).await
    }

    /// Merges the lines of the record's datasets into the bucket's certificate, which machines share: read, merge, and
    /// write only if no other process has written since.
    async fn push_certificate(&self, record: &Record) -> Result<()> {
        let path = Path::new(LOGS).join(CERTIFICATE);
        let key = self.key(&path.to_string_lossy())?;
        let Some(local) = self.transfer.folder().read(&path, certificate::MAX_SIZE) else { return Ok(()) };
        let ours = Certificate::parse(&String::from_utf8_lossy(&local));
        let own = certificate::datasets_of_record(record);
        let merge = |old: Option<&[u8]>| {
            let Some(old) = old else { return Ok(Some(local.clone())) };
            let mut merged = Certificate::parse(&String::from_utf8_lossy(old));
            merged.merge(&ours, own.clone());
            let merged = if merged.lines().is_empty() { local.clone() } else { merged.to_string().into_bytes() };
            Ok((merged != old).then_some(merged))
        };
        let bucket = self.transfer.bucket();
        self.fence.write(async || bucket.update(&key, certificate::MAX_SIZE, &merge).await.map(drop)).await
    }

    /// Uploads the usage record that the platform's tools read, for a job whose results go to its own group.
    async fn push_usage_record(&self, record: &Record) -> Result<()> {
        match usage_record(record) {
            Some((key, content)) => {
                let key = Key::new(key)?;
                self.fence.write(async || self.fence.bucket().put(&key, content.clone()).await).await
            }
            None => Ok(()),
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        self.transfer.folder().relative(path).to_owned()
    }

    fn key(&self, path: &str) -> Result<Key> {
        Key::new(format!("{}{path}", self.prefix))
    }

    async fn push_file(&self, path: &Path, existing: Option<&ObjectInfo>, sha256: Option<Sha256Sum>) -> Result<()> {
        let text = path.to_str().unwrap_or_default();
        let key = self.key(text)?;
        let stamp = FileStamp::read(self.transfer.folder(), path);
        let upload = async || self.transfer.upload_if_changed(path, &key, existing, stamp.as_ref(), sha256).await;
        match self.fence.write(upload).await {
            Ok(done) => {
                self.report(&FileRecord::done(text, key.as_str(), &done)).await;
                Ok(())
            }
            Err(failure) => {
                let tool = self.pusher.tool;
                self.report(&FileRecord::failed(text, key.as_str(), FileOutcome::Failed, &failure, tool)).await;
                Err(failure)
            }
        }
    }

    async fn report(&self, file: &FileRecord) {
        if self.pusher.files {
            self.output.write_json(file).await;
        }
    }
}
