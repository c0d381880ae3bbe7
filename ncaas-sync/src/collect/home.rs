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
    work_root: Folder,
}

impl Home {
    /// Opens that of a record's job, and makes it if it is not there.
    pub(crate) fn open(record: &Record) -> Result<Home> {
        let job = JobFolder::for_record(record)?;
        let (folder, work_root) = (job.open()?, job.make_work_root()?);
        Ok(Home { job, folder, work_root })
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

    /// The folder with the work folders of the job's datasets.
    pub(crate) fn work_root(&self) -> &Dir {
        self.work_root.dir()
    }

    /// This dataset's work folder, relative to [`work_root`](Self::work_root).
    pub(crate) fn work(&self) -> PathBuf {
        self.work_root.within(&self.job.work()).to_owned()
    }

    /// Opens this dataset's work folder.
    pub(crate) fn open_work(&self) -> Result<Dir> {
        let work = self.work();
        self.work_root().open_dir(&work).map_err(|error| self.work_root.contained("open", &work, &error))
    }

    /// A path of the job's, relative to its folder.
    pub(crate) fn within(&self, path: &Path) -> PathBuf {
        self.folder.within(path).to_owned()
    }

    /// An empty folder below the work root, whatever was there before.
    pub(crate) fn fresh_work_folder(&self, path: &Path) -> Result<Dir> {
        let failure = |what: &str, error: &io::Error| self.work_root.contained(what, path, error);
        match self.work_root().remove_dir_all(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure("empty the folder", &error)),
            _ => {}
        }
        self.work_root().create_dir_all(path).map_err(|error| failure("make the folder", &error))?;
        self.work_root().open_dir(path).map_err(|error| failure("open", &error))
    }

    /// The folders that the job's container has mounted, of those that are there.
    pub(crate) fn mounted(&self) -> Result<Vec<PathBuf>> {
        self.job.mounted()
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
