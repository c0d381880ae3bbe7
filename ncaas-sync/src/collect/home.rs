//! A job's folder in the io-dir, out of which nothing leads.
//!
//! A development container has the whole io-dir, and may put links in the place of its folders. The io-dir itself is
//! opened by its path, which is the user's; all below it by handle, so that a link that stays in it is followed and one
//! that leaves is refused.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::OURS;
use ncaas_core::layout::{JobFolder, LOGS, PROCESS_RESULTS, RESULTS, WORK};
use ncaas_core::record::Record;

use super::stage::open_folder;
use crate::local::blocking;
use crate::transfer::Folder;

/// How large a saved record may be that is read, in bytes.
const LARGEST_RECORD: u64 = 64 << 20;
/// How the name of a saved record ends.
const RECORD: &str = ".record.json";

/// The folder of a record's job, opened below the io-dir, and made if it is not there.
pub(crate) fn folder_of(record: &Record, job: &JobFolder) -> Result<Folder> {
    let io_dir = Folder::make(Path::new(record.need("io_dir")?))?;
    io_dir.below(&Path::new(RESULTS).join(job.root().file_name().unwrap_or_default()))
}

/// A job's folder.
#[derive(Debug)]
pub(crate) struct Home {
    job: JobFolder,
    folder: Folder,
}

impl Home {
    /// Opens that of a record's job, and makes it if it is not there.
    pub(crate) fn open(record: &Record) -> Result<Home> {
        let job = JobFolder::of(record)?;
        let folder = folder_of(record, &job)?;
        for shared in [PROCESS_RESULTS, LOGS, WORK].map(Path::new).into_iter().filter(|shared| folder.has(shared)) {
            folder.below(shared)?;
        }
        Ok(Home { job, folder })
    }

    pub(crate) fn job(&self) -> &JobFolder {
        &self.job
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
        path.strip_prefix(self.job.root()).unwrap_or(path).to_owned()
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
        let mut there = Vec::new();
        for path in [self.job.work_results(), self.job.work_logs()] {
            match open_folder(self.dir(), self.within(&path)) {
                Ok(_) => there.push(path),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::NotADirectory || is_loop(&error) => {
                    let words = format!("`{}` is not the folder that was mounted into the container", path.display());
                    return Err(Failure::new(Kind::UnsafePath, words)
                        .hint("find out what put something else there, and move it away"));
                }
                Err(error) => return Err(self.failure("open", &self.within(&path), &error)),
            }
        }
        Ok(there)
    }

    /// Waits for a lock between processes and tasks, held until the file is dropped.
    pub(crate) async fn lock(self: &Arc<Self>, name: &str) -> Result<File> {
        let (home, path) = (Arc::clone(self), PathBuf::from(format!("{OURS}{name}.lock")));
        blocking(move || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            let open = || -> io::Result<File> {
                let file = home.dir().open_with(&path, &options)?.into_std();
                file.lock()?;
                Ok(file)
            };
            open().map_err(|error| home.failure("lock", &path, &error))
        })
        .await
    }

    /// Writes a file so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.folder.write_whole(path, |file| io::Write::write_all(file, content))
    }

    /// The same, for content that is not in memory.
    pub(crate) fn write_with(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        self.folder.write_whole(path, write)
    }

    /// The content of a regular file that is there and no larger than a record.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let (file, _) = self.folder.try_open_file(path)?;
        file.take(LARGEST_RECORD).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// What this dataset's job came to when it was collected before, if it was.
    pub(crate) fn saved_record(&self) -> Option<Record> {
        self.job.own_record(&self.read(&self.within(&self.job.record_file()))?)
    }

    /// The saved records of the job's other datasets.
    pub(crate) fn other_records(&self) -> Vec<Record> {
        let own = self.within(&self.job.record_file());
        let names = self.dir().read_dir(LOGS).into_iter().flatten().flatten();
        names
            .map(|entry| Path::new(LOGS).join(entry.file_name()))
            .filter(|path| *path != own && path.to_string_lossy().ends_with(RECORD))
            .filter_map(|path| Record::parse(&self.read(&path)?).ok())
            .collect()
    }

    /// A failure of an operation on a path in it.
    pub(crate) fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        self.folder.contained(what, path, error)
    }
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
