//! The opened folder of a job, as a collection works in it.

use std::fs::File as LockFile;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::folder::Folder;
use ncaas_core::layout::{JobFolder, LOGS, RECORD_SUFFIX, RESULTS};
use ncaas_core::record::{MAX_LINE, Record};
use ncaas_core::{certificate, status_file};

use super::findings::STAGE;
use crate::path_text::escape_path;
use ncaas_core::blocking::run_blocking;

/// The opened folder of a job.
#[derive(Debug)]
pub(crate) struct JobDirectory {
    job: JobFolder,
    folder: Folder,
}

impl JobDirectory {
    /// Opens the folder of a record's job; creates it if necessary.
    pub(crate) fn open(record: &Record) -> Result<JobDirectory> {
        let job = JobFolder::for_record(record)?;
        let folder = job.open()?;
        job.check_attempt(&folder)?;
        Ok(JobDirectory { job, folder })
    }

    pub(crate) fn job(&self) -> &JobFolder {
        &self.job
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn dir(&self) -> &Dir {
        self.folder.dir()
    }

    /// The job's folder relative to the io-dir.
    pub(crate) fn base(&self) -> String {
        format!("{RESULTS}/{}", escape_path(self.job.root().file_name().unwrap_or_default().as_ref()))
    }

    /// An absolute path in the job's folder, relative to it.
    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        self.folder.relative(path).to_owned()
    }

    /// Opens the work folder of a dataset, if it exists.
    pub(crate) fn open_work(&self, dataset: u64) -> Result<Option<Dir>> {
        let Some(root) = self.job.open_work_root()? else { return Ok(None) };
        let path = dataset.to_string();
        match root.dir().open_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(|error| root.path_failure("open", Path::new(&path), &error)),
        }
    }

    /// Creates an empty staging folder in this dataset's work folder.
    pub(crate) fn create_stage(&self) -> Result<Dir> {
        let root = self.job.make_work_root()?;
        let path = root.relative(&self.job.work()).join(STAGE);
        let failure = |operation: &str, error: &io::Error| root.path_failure(operation, &path, error);
        match root.dir().remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure("empty the folder", &error)),
            _ => {}
        }
        root.dir().create_dir_all(&path).map_err(|error| failure("create the folder", &error))?;
        root.dir().open_dir(&path).map_err(|error| failure("open", &error))
    }

    /// Removes the staging folder.
    pub(crate) fn remove_stage(&self) {
        if let Ok(Some(root)) = self.job.open_work_root() {
            // A folder that cannot be removed does no harm.
            let _ = root.dir().remove_dir_all(root.relative(&self.job.work()).join(STAGE));
        }
    }

    /// The existing folders that the job's container has mounted.
    pub(crate) fn mounted(&self) -> Result<Vec<PathBuf>> {
        self.job.mounted()
    }

    /// Waits for a lock between processes and tasks, which is held until the file is dropped.
    pub(crate) async fn lock(self: &Arc<Self>, name: &str) -> Result<LockFile> {
        let (directory, name) = (Arc::clone(self), name.to_owned());
        run_blocking(move || directory.folder.lock(Path::new(""), &name)).await
    }

    /// The record that was saved when this dataset's job ended before.
    pub(crate) fn saved_record(&self) -> Option<Record> {
        self.job.saved_record_in(&self.folder)
    }

    /// Saves the record in the job's logs.
    pub(crate) fn save_record(&self, record: &Record) -> Result<()> {
        self.folder.write_whole(&self.relative(&self.job.record_file()), &record.to_line())
    }

    /// Saves the record of a job whose results could not be collected. Its certificate and status file, which may call
    /// the job a success, now give the reason of the failure.
    pub(crate) fn save_failed_record(&self, record: &Record, reason: &str) -> Result<()> {
        self.save_record(record)?;
        let dataset = *certificate::datasets_of_record(record).start();
        certificate::update(&self.folder, |certificate| certificate.fail(dataset, reason))?;
        let path = self.relative(&self.job.status_file());
        let old = self.folder.read(&path, status_file::MAX_SIZE).unwrap_or_default();
        if let Some(status) = status_file::with_failure(&old, reason) {
            self.folder.write_whole(&path, &status)?;
        }
        Ok(())
    }

    /// The saved records of the job's other datasets.
    pub(crate) fn other_records(&self) -> Vec<Record> {
        let own = self.relative(&self.job.record_file());
        let names = self.dir().read_dir(LOGS).into_iter().flatten().flatten();
        names
            .map(|entry| Path::new(LOGS).join(entry.file_name()))
            .filter(|path| *path != own && path.to_string_lossy().ends_with(RECORD_SUFFIX))
            .filter_map(|path| Record::parse(&self.folder.read(&path, MAX_LINE as u64)?).ok())
            .collect()
    }

    pub(crate) fn failure(&self, operation: &str, path: &Path, error: &io::Error) -> Failure {
        self.folder.path_failure(operation, path, error)
    }
}
