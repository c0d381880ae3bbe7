//! The folders that a job writes to: made before its container, and removed again if the start fails.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{IoContext, Kind, Result};
use ncaas_core::layout::JobFolder;

/// How often making the folders of a job is repeated.
const REPETITIONS: u32 = 100;

/// The folders made for a job. Dropping this removes those that are empty, unless they are in use.
#[derive(Debug, Default)]
pub(super) struct MadeFolders {
    /// In the order in which they were made.
    made: Vec<PathBuf>,
    /// The job whose work folder is locked: its staged inputs are removed too.
    job: Option<JobFolder>,
    /// Whether a container may write to them: ours, or one that another run of the same job started.
    pub(super) in_use: bool,
}

impl MadeFolders {
    /// Makes a folder exclusively. Returns false if it exists.
    pub(super) fn make_exclusive(&mut self, path: &Path) -> Result<bool> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            made => {
                made.doing("create the folder", path)?;
                self.made.push(path.to_owned());
                Ok(true)
            }
        }
    }

    /// Makes the folders that the job's container writes to, and locks its work folder between processes until the file
    /// is dropped. None if the file system cannot lock folders.
    pub(super) async fn make_locked(&mut self, folder: &JobFolder) -> Result<Option<File>> {
        loop {
            self.make_job_folders(folder)?;
            let lock = folder.lock_work().await;
            // The process that had the lock may have removed this folder or those in it.
            if folder.work().exists() {
                self.make_job_folders(folder)?;
                self.job = Some(folder.clone());
                return Ok(lock);
            }
        }
    }

    fn make_job_folders(&mut self, folder: &JobFolder) -> Result<()> {
        let root = folder.work_root();
        // The root is in `.ncaas/work`.
        let above = root.ancestors().skip(1).take(2).map(Path::to_owned).collect::<Vec<_>>().into_iter().rev();
        let own = [folder.root().to_owned(), root, folder.work(), folder.work_results(), folder.work_logs()];
        let missing = above.chain(own).filter(|path| path.symlink_metadata().is_err());
        self.made.extend(missing);
        let mut repetitions = REPETITIONS;
        loop {
            match folder.make_work() {
                // Another dataset of the job could not be started, and has removed a folder that was still empty.
                Err(failure) if failure.kind == Kind::FileNotFound && repetitions > 0 => repetitions -= 1,
                made => return made,
            }
        }
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        if !self.in_use {
            if let Some(job) = &self.job {
                job.remove_staged_inputs();
            }
            for path in self.made.iter().rev() {
                // Fails for a folder that is not empty, which is kept.
                let _ = std::fs::remove_dir(path);
            }
        }
    }
}
