//! One job's results and logs go to its folder in the bucket.
//!
//! The order is what its readers rely on: results, then logs, then the saved record, which says that the job is all
//! there, and `end.txt` when that holds for every dataset of the submission.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::layout::{CERTIFICATE, CONFIGS, JobFolder, LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;

use super::end;
use crate::buckets::Buckets;
use crate::transfer::{Folder, put};
use crate::{jobs, local};

/// Pushes what the record's job has by now.
pub(crate) async fn push(record: &mut Record, buckets: &Buckets, io_dir: &Path) -> Result<()> {
    let failed = record.has_error();
    let Some(job) = record.job().filter(|job| job.bucket.is_some() && job.group.is_some()) else {
        // A record that is no job's, and a job from arguments, have no bucket to go to.
        return if failed { Ok(()) } else { Err(no_bucket(record)) };
    };
    jobs::fill_io_dir(record, io_dir)?;
    let folder = JobFolder::of(record)?;
    let target = Target::of(record, &job, buckets).await?;
    let pushing = Pushing { local: Folder::open(folder.root())?, folder, target };
    let may_pass = record.error().is_some_and(|error| error.kind.may_pass());
    let ended = record.container().is_some_and(|container| container.has_ended());
    if may_pass {
        return pushing.certificate().await;
    }
    if !ended && !failed {
        return pushing.logs().await;
    }
    pushing.results(record).await?;
    pushing.logs().await?;
    pushing.record_file().await?;
    end::write_if_all_ended(&pushing.target, &job, &pushing.folder).await
}

fn no_bucket(record: &Record) -> Failure {
    match record.job() {
        Some(_) => Failure::new(Kind::BadRecord, "the job came from no bucket, so its results go to none")
            .hint("its results are in its io-dir; `ncaas-sync push DIR BUCKET/PREFIX` brings any folder to a bucket"),
        None => Failure::lacks("job"),
    }
}

/// The job's folder in a bucket.
pub(crate) struct Target {
    pub(crate) bucket: Bucket,
    /// Ends in `/`.
    pub(crate) prefix: String,
}

impl Target {
    async fn of(record: &Record, job: &Job, buckets: &Buckets) -> Result<Target> {
        if let Some(path) = record.text("resultpath") {
            let (bucket, key) = buckets.find("", path.trim_end_matches('/')).await?;
            return Ok(Target { bucket, prefix: format!("{}/{}/", key.as_str(), job.id) });
        }
        let bucket = buckets.get(job.bucket.as_deref().unwrap_or_default()).await?;
        Ok(Target { bucket, prefix: format!("{}/{RESULTS}/{}/", job.group.as_deref().unwrap_or_default(), job.id) })
    }

    /// The key of a path relative to the job's folder.
    pub(crate) fn key(&self, path: &str) -> Result<Key> {
        Key::new(format!("{}{path}", self.prefix))
    }

    /// What lies below a path of the job's folder, by its path relative to that.
    async fn list(&self, below: &str) -> Result<HashMap<String, Entry>> {
        let mut there = HashMap::new();
        let mut listing = self.bucket.list(&format!("{}{below}", self.prefix), None);
        while let Some(page) = listing.next_page().await? {
            for entry in page.entries {
                let path = entry.key.as_str().strip_prefix(&self.prefix).unwrap_or_default().to_owned();
                there.insert(path, entry);
            }
        }
        Ok(there)
    }
}

struct Pushing {
    /// The job's folder on this machine.
    local: Folder,
    folder: JobFolder,
    target: Target,
}

impl Pushing {
    /// The job's results, and the config beside them. One that fails does not keep back the others.
    async fn results(&self, record: &Record) -> Result<()> {
        let base = format!("{RESULTS}/{}/", record.job().unwrap_or_default().id);
        let results = record.results().unwrap_or_default();
        let mut paths: Vec<String> =
            results.iter().map(|result| result.path.strip_prefix(&base).unwrap_or(&result.path).to_owned()).collect();
        if let Some(name) = record.text("configname")
            && let Ok(place) = inputs::place(record, name, CONFIGS)
            && let Some(name) = place.host.file_name().and_then(|name| name.to_str())
        {
            let config = format!("{PROCESS_RESULTS}/{name}");
            if self.local.has(Path::new(&config)) {
                paths.push(config);
            }
        }
        if paths.is_empty() {
            return Ok(());
        }
        let there = self.target.list("").await?;
        let mut failures = Vec::new();
        for path in paths {
            let done = match path.ends_with('/') {
                true => self.target.bucket.put(&self.target.key(&path)?, Vec::new()).await,
                false => self.file(Path::new(&path), there.get(&path)).await,
            };
            failures.extend(done.err());
        }
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            more => Err(failures.remove(0).context(format!("{more} results, the first of them"))),
        }
    }

    /// The dataset's own log and status file, and the certificate.
    async fn logs(&self) -> Result<()> {
        for path in [self.folder.log_file(), self.folder.status_file()] {
            let path = self.within(&path);
            if self.local.has(&path) {
                self.file(&path, None).await?;
            }
        }
        self.certificate().await
    }

    /// The certificate is shared by the submission's datasets: whoever uploads it last on this machine has read it last.
    async fn certificate(&self) -> Result<()> {
        let path = Path::new(LOGS).join(CERTIFICATE);
        if self.local.has(&path) {
            let _lock = local::lock(self.folder.root(), "push").await?;
            self.file(&path, None).await?;
        }
        Ok(())
    }

    async fn record_file(&self) -> Result<()> {
        let path = self.within(&self.folder.record_file());
        if !self.local.has(&path) {
            return Err(Failure::new(
                Kind::FileNotFound,
                format!("no `{}`: it says how the job ended", self.folder.record_file().display()),
            )
            .hint("`ncaas-logs save` writes it: put that before `ncaas-sync push`"));
        }
        self.file(&path, None).await
    }

    fn within(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.folder.root()).unwrap_or(path).to_owned()
    }

    async fn file(&self, path: &Path, there: Option<&Entry>) -> Result<()> {
        let key = self.target.key(path.to_str().unwrap_or_default())?;
        put(&self.target.bucket, &self.local, path, &key, there).await
    }
}
