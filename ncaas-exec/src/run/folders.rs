//! The folders that a job writes to: made before its container, and gone again where none comes to be.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{IoContext, Result};
use ncaas_core::layout::JobFolder;

/// Those that were made for a job. Dropped, they go again as far as they are empty, unless they are in use.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// In the order in which they were made.
    made: Vec<PathBuf>,
    /// A container may write to them, ours or that of another run of the same job.
    pub(super) in_use: bool,
}

impl Folders {
    /// Makes one that nobody else has: false where it is there.
    pub(super) fn claim(&mut self, path: &Path) -> Result<bool> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            made => {
                made.doing("make the folder", path)?;
                self.made.push(path.to_owned());
                Ok(true)
            }
        }
    }

    /// Makes those that a job's container writes to.
    pub(super) fn make(&mut self, folder: &JobFolder) -> Result<()> {
        let work = folder.work();
        let shared = [folder.root(), work.parent().unwrap_or(&work)].map(Path::to_owned);
        let own = [work, folder.work_results(), folder.work_logs()];
        let missing = shared.into_iter().chain(own).filter(|path| path.symlink_metadata().is_err());
        self.made.extend(missing);
        folder.make_work()
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if !self.in_use {
            for path in self.made.iter().rev() {
                // One with something in it stays.
                let _ = std::fs::remove_dir(path);
            }
        }
    }
}
