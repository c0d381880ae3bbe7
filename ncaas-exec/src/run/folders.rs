//! The folders that a job writes to: made before its container, and gone again where none comes to be.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{IoContext, Result};
use ncaas_core::files::make_folder;
use ncaas_core::layout::JobFolder;

use crate::plan::{OPEN, SHUT};

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
        let own = folder.work();
        for above in [Some(folder.root()), own.parent()].into_iter().flatten() {
            self.make_one(above)?;
        }
        for (path, mode) in [(own, SHUT), (folder.work_results(), OPEN), (folder.work_logs(), OPEN)] {
            self.make_one(&path)?;
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).doing("set the permissions of", &path)?;
        }
        Ok(())
    }

    fn make_one(&mut self, path: &Path) -> Result<()> {
        make_folder(path.parent().unwrap_or(path))?;
        // What is there, and no folder, fails in the second.
        if self.claim(path)? { Ok(()) } else { make_folder(path) }
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
