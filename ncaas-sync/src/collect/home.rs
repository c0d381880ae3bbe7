//! A job's folder, as a collection works on it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::folder::Folder;
use ncaas_core::layout::{JobFolder, LOGS};
use ncaas_core::pipe::MAX_LINE;
use ncaas_core::record::Record;

use ncaas_core::blocking::run_blocking;

/// How the name of a saved record ends.
const RECORD: &str = ".record.json";

/// A job's folder.
#[derive(Debug)]
pub(crate) struct Home {
    job: JobFolder,
    folder: Folder,
}

impl Home {
    /// Opens that of a record's job, and makes it if it is not there.
    pub(crate) fn open(record: &Record) -> Result<Home> {
        let job = JobFolder::for_record(record)?;
        let folder = job.open()?;
        Ok(Home { job, folder })
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

    /// This dataset's work folder, relative to the job's.
    pub(crate) fn work(&self) -> PathBuf {
        self.within(&self.job.work())
    }

    /// A path of the job's, relative to its folder.
    pub(crate) fn within(&self, path: &Path) -> PathBuf {
        self.folder.within(path).to_owned()
    }

    /// Opens a folder.
    pub(crate) fn open_dir(&self, path: &Path) -> Result<Dir> {
        self.dir().open_dir(path).map_err(|error| self.failure("open", path, &error))
    }

    /// An empty folder, whatever was there before.
    pub(crate) fn fresh_folder(&self, path: &Path) -> Result<Dir> {
        match self.dir().remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(self.failure("empty the folder", path, &error));
            }
            _ => {}
        }
        self.dir().create_dir_all(path).map_err(|error| self.failure("make the folder", path, &error))?;
        self.open_dir(path)
    }

    /// The folders that the job's container has mounted, of those that are there.
    pub(crate) fn mounted(&self) -> Result<Vec<PathBuf>> {
        self.job.mounted(&self.folder)
    }

    /// Waits for a lock between processes and tasks, held until the file is dropped.
    pub(crate) async fn lock(self: &Arc<Self>, name: &str) -> Result<File> {
        let (home, name) = (Arc::clone(self), name.to_owned());
        run_blocking(move || home.folder.lock(Path::new(""), &name)).await
    }

    /// What this dataset's job came to when it was collected before, if it was.
    pub(crate) fn saved_record(&self) -> Option<Record> {
        self.job.own_record(&self.folder.read(&self.within(&self.job.record_file()), MAX_LINE as u64)?)
    }

    /// The saved records of the job's other datasets.
    pub(crate) fn other_records(&self) -> Vec<Record> {
        let own = self.within(&self.job.record_file());
        let names = self.dir().read_dir(LOGS).into_iter().flatten().flatten();
        names
            .map(|entry| Path::new(LOGS).join(entry.file_name()))
            .filter(|path| *path != own && path.to_string_lossy().ends_with(RECORD))
            .filter_map(|path| Record::parse(&self.folder.read(&path, MAX_LINE as u64)?).ok())
            .collect()
    }

    /// A failure of an operation on a path in it.
    pub(crate) fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        self.folder.contained(what, path, error)
    }
}
