//! One job's results and logs go to its folder in the bucket.
//!
//! The order is what its readers rely on: results, then logs, then the saved record, which says that the job is all
//! there, and `end.txt` when that holds for every dataset of the submission.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::engine::{LazyEngine, STOP_GRACE_S};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::layout::{CERTIFICATE, CLAIM, CONFIGS, JobFolder, LOGS, PROCESS_RESULTS, RESULTS, job_prefix};
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::tool::Tool;

use super::{FILES_AT_ONCE, end};
use crate::buckets::Buckets;
use crate::report::{FileOutcome, FileRecord, write};
use crate::results::{Results, within_job};
use crate::{cancelled, jobs};
use ncaas_core::blocking::run_blocking;
use ncaas_core::transfer::{Sha256Sum, Stamp, Transfer, parse_sha256};

/// Pushes jobs.
pub(crate) struct Pushing<'p> {
    pub(crate) tool: Tool,
    pub(crate) buckets: Buckets,
    /// Only to stop jobs that are cancelled.
    pub(crate) engine: LazyEngine,
    /// For records that have none.
    pub(crate) io_dir: &'p Path,
    /// Write a record for each file.
    pub(crate) files: bool,
}

impl Pushing<'_> {
    /// Pushes what a record's job has by now.
    pub(crate) async fn push(&self, record: &mut Record, output: &Output) -> Result<()> {
        let failed = record.has_error();
        let Some(job) = record.job().filter(|job| job.bucket.is_some() && job.group.is_some()) else {
            // The results of a job from arguments are where they belong, in its io-dir.
            return if failed || record.job().is_some() { Ok(()) } else { Err(Failure::missing_field("job")) };
        };
        jobs::fill_io_dir(record, self.io_dir)?;
        let folder = JobFolder::for_record(record)?;
        let (bucket, prefix) = self.target(record, &job).await?;
        let transfer = Transfer::without_index(bucket, folder.open()?);
        let ended = record.container().is_some_and(|container| container.has_ended());
        let transfer = if ended || failed { transfer } else { transfer.for_growing_files() };
        let one = One { pushing: self, output, transfer, prefix, folder };
        if record.error().is_some_and(|error| error.kind.is_transient()) {
            one.certificate().await?;
            return self.give_back(&job).await;
        }
        if !ended && !failed {
            one.logs().await?;
            return self.stop_if_cancelled(record, &job).await;
        }
        one.results(record).await?;
        one.logs().await?;
        one.results_file(record).await?;
        one.saved_record().await?;
        end::write_if_all_ended(&one.transfer, &one.prefix, &job).await
    }

    /// Without its claim, which lies in the group's own folder, the submission is taken up again: nothing was wrong with it.
    async fn give_back(&self, job: &Job) -> Result<()> {
        let (Some(bucket), Some(group)) = (&job.bucket, &job.group) else { return Ok(()) };
        let claim = Key::new(format!("{}{CLAIM}", job_prefix(group, &job.id)))?;
        self.buckets.get(bucket).await?.delete(&claim).await
    }

    /// Stops a running job whose submission somebody has cancelled. How it ended comes with its next record.
    async fn stop_if_cancelled(&self, record: &Record, job: &Job) -> Result<()> {
        let Some(container) = record.container() else { return Ok(()) };
        if !cancelled::is_cancelled(&self.buckets, job).await? {
            return Ok(());
        }
        self.tool.note(&format!("stopping `{}`: its submission is cancelled", container.name));
        match self.engine.get().await?.stop(&container.id, STOP_GRACE_S).await {
            Err(failure) if failure.kind == Kind::ContainerNotFound => Ok(()),
            stopped => stopped,
        }
    }

    /// The job's folder in a bucket, and its prefix, which ends in `/`.
    async fn target(&self, record: &Record, job: &Job) -> Result<(Bucket, String)> {
        if let Some(path) = record.text("resultpath") {
            let (bucket, key) = self.buckets.find("", path.trim_end_matches('/')).await?;
            return Ok((bucket, format!("{}/{}/", key.as_str(), job.id)));
        }
        let bucket = self.buckets.get(job.bucket.as_deref().unwrap_or_default()).await?;
        Ok((bucket, format!("{}/{RESULTS}/{}/", job.group.as_deref().unwrap_or_default(), job.id)))
    }
}

/// One job on its way.
struct One<'p> {
    pushing: &'p Pushing<'p>,
    output: &'p Output,
    /// Between the job's folder here and its bucket.
    transfer: Transfer,
    /// Of the job's folder in the bucket; ends in `/`.
    prefix: String,
    folder: JobFolder,
}

impl One<'_> {
    /// The job's results, and the config beside them. One that fails does not keep back the others.
    async fn results(&self, record: &Record) -> Result<()> {
        let (folder, of) = (Arc::clone(self.transfer.folder()), record.clone());
        let mut results = run_blocking(move || Results::open(&of, &folder)).await?.peekable();
        let config = self.config(record);
        if results.peek().is_none() && config.is_none() {
            return Ok(());
        }
        let there = &self.there().await?;
        let is_result = Cell::new(false);
        let files = results.map(|result| {
            let result = result?;
            let path = within_job(&result.path).to_string_lossy().into_owned();
            is_result.set(is_result.get() || config.as_ref() == Some(&path));
            Ok((path, result.sha256.as_deref().and_then(parse_sha256)))
        });
        let config = std::iter::once_with(|| config.clone().filter(|_| !is_result.get()).map(|path| Ok((path, None))));
        let each = files.chain(config.flatten()).map(|file: Result<(String, Option<Sha256Sum>)>| async move {
            let (path, known) = file?;
            self.result(&path, there.get(&path), known).await
        });
        let (mut first, mut failed) = (None, 0_u64);
        let mut each = pin!(stream::iter(each).buffer_unordered(FILES_AT_ONCE));
        while let Some(done) = each.next().await {
            if let Err(failure) = done {
                failed += 1;
                first.get_or_insert(failure);
            }
        }
        match first {
            None => Ok(()),
            Some(failure) if failed == 1 => Err(failure),
            Some(failure) => Err(failure.context(format!("{failed} files were not pushed, the first of them"))),
        }
    }

    /// Where the config lies beside the results, if it does.
    fn config(&self, record: &Record) -> Option<String> {
        let place = inputs::locate(record, record.text("configname")?, CONFIGS).ok()?;
        let path = format!("{PROCESS_RESULTS}/{}", place.host.file_name()?.to_str()?);
        self.transfer.folder().has(Path::new(&path)).then_some(path)
    }

    /// The file that lists the results, where those are too many for the record.
    async fn results_file(&self, record: &Record) -> Result<()> {
        match record.results_file() {
            Some(told) => self.file(within_job(&told.path), None, parse_sha256(&told.sha256)).await,
            None => Ok(()),
        }
    }

    /// What lies in the job's folder in the bucket, by its path.
    async fn there(&self) -> Result<HashMap<String, Entry>> {
        let mut there = HashMap::new();
        let mut listing = self.transfer.bucket().list(&self.prefix, None);
        while let Some(page) = listing.next_page().await? {
            for entry in page.entries {
                let path = entry.key.as_str().strip_prefix(&self.prefix).unwrap_or_default().to_owned();
                there.insert(path, entry);
            }
        }
        Ok(there)
    }

    async fn result(&self, path: &str, there: Option<&Entry>, known: Option<Sha256Sum>) -> Result<()> {
        if !path.ends_with('/') {
            return self.file(Path::new(path), there, known).await;
        }
        let key = self.key(path)?;
        if there.is_none() {
            self.transfer.bucket().put(&key, Vec::new()).await?;
        }
        let outcome = if there.is_some() { FileOutcome::Unchanged } else { FileOutcome::New };
        self.note(&FileRecord::plain(path, key.as_str(), outcome)).await;
        Ok(())
    }

    /// The dataset's own log and status file, and the certificate.
    async fn logs(&self) -> Result<()> {
        for path in [self.folder.log_file(), self.folder.status_file()] {
            let path = self.within(&path);
            if self.transfer.folder().has(&path) {
                self.file(&path, None, None).await?;
            }
        }
        self.certificate().await
    }

    /// The certificate is shared by the submission's datasets: whoever uploads it last on this machine has read it last.
    async fn certificate(&self) -> Result<()> {
        let path = Path::new(LOGS).join(CERTIFICATE);
        if self.transfer.folder().has(&path) {
            let folder = Arc::clone(self.transfer.folder());
            let _lock = run_blocking(move || folder.lock(Path::new(""), "push")).await?;
            self.file(&path, None, None).await?;
        }
        Ok(())
    }

    async fn saved_record(&self) -> Result<()> {
        let path = self.within(&self.folder.record_file());
        if !self.transfer.folder().has(&path) {
            let words = format!("no `{}`: it says how the job ended", self.folder.record_file().display());
            return Err(Failure::new(Kind::FileNotFound, words)
                .hint("`ncaas-logs save` writes it: put that before `ncaas-sync push`"));
        }
        self.file(&path, None, None).await
    }

    fn within(&self, path: &Path) -> PathBuf {
        self.transfer.folder().within(path).to_owned()
    }

    fn key(&self, path: &str) -> Result<Key> {
        Key::new(format!("{}{path}", self.prefix))
    }

    async fn file(&self, path: &Path, there: Option<&Entry>, known: Option<Sha256Sum>) -> Result<()> {
        let text = path.to_str().unwrap_or_default();
        let key = self.key(text)?;
        let stamp = Stamp::read(self.transfer.folder(), path);
        match self.transfer.upload_if_changed(path, &key, there, stamp.as_ref(), known).await {
            Ok(done) => {
                self.note(&FileRecord::done(text, key.as_str(), &done)).await;
                Ok(())
            }
            Err(failure) => {
                let tool = self.pushing.tool;
                self.note(&FileRecord::failed(text, key.as_str(), FileOutcome::Failed, &failure, tool)).await;
                Err(failure)
            }
        }
    }

    async fn note(&self, file: &FileRecord) {
        if self.pushing.files {
            write(self.output, file).await;
        }
    }
}
