//! The work folder of a job: the folders that its container writes to, until the results are collected.
//!
//! It lies beside, not below, the folders that development containers mount: no container can write in a folder above
//! [`JobFolder::work_results`]. Its lock keeps a run of the job and the removal of its last run apart.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Permissions, PermissionsExt};
use jiff::Timestamp;

use super::folder_modes::{MODE_PRIVATE, MODE_SHARED};
use super::job_folder::JobFolder;
use super::names::{INPUTS, LOGS, RESULTS, STATE_FOLDER, WORK};
use crate::failure::Result;
use crate::files::lock_folder;
use crate::folder::{Folder, open_real_folder};

/// The depth to which empty folders are removed: a job may nest them without end.
const MAX_DEPTH: usize = 64;

/// A file in a work folder whose job another machine has ended: the attempt.
const SUPERSEDED: &str = "superseded";

impl JobFolder {
    /// `.ncaas/work/<job id>`: the folders that are mounted in the job's containers. No container can write in a folder
    /// above them: `ncaas-exec start` mounts the other folders of the io-dir one by one.
    pub fn work_root(&self) -> PathBuf {
        self.io_dir().join(WORK).join(self.id())
    }

    /// The folder of this dataset in [`work_root`](Self::work_root).
    pub fn work(&self) -> PathBuf {
        self.work_root().join(self.dataset().to_string())
    }

    /// The folder that this dataset's container writes its results to.
    pub fn work_results(&self) -> PathBuf {
        self.work().join(RESULTS)
    }

    /// The folder that this dataset's container writes its logs to.
    pub fn work_logs(&self) -> PathBuf {
        self.work().join(LOGS)
    }

    /// The folder with links to, and copies of, this dataset's inputs that are not mounted in place.
    pub fn work_inputs(&self) -> PathBuf {
        self.work().join(INPUTS)
    }

    /// Opens [`work_root`](Self::work_root), if it exists.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](crate::failure::Kind::UnsafePath) if a link leads out of the io-dir.
    pub fn open_work_root(&self) -> Result<Option<Folder>> {
        self.open_in_io_dir(&self.work_root())
    }

    /// Opens [`work_root`](Self::work_root), and makes it if it does not exist.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](crate::failure::Kind::UnsafePath) if a link leads out of the io-dir.
    pub fn make_work_root(&self) -> Result<Folder> {
        let io_dir = Folder::create(self.io_dir())?;
        let root = self.work_root();
        let folder = io_dir.open_or_create(io_dir.relative(&root))?;
        let private = io_dir.dir().set_permissions(STATE_FOLDER, Permissions::from_mode(MODE_PRIVATE));
        private.map_err(|error| io_dir.failure("set the permissions of", Path::new(STATE_FOLDER), &error))?;
        Ok(folder)
    }

    /// Makes the folders that are mounted in the job's container. They are writable for every user, because the
    /// container's user is not known, below a folder that only the user of this machine can enter.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](crate::failure::Kind::UnsafePath) if something else is in the place of one: the engine
    /// would follow it.
    pub fn make_work(&self) -> Result<()> {
        self.open()?;
        let root = self.make_work_root()?;
        for (path, mode) in
            [(self.work(), MODE_PRIVATE), (self.work_results(), MODE_SHARED), (self.work_logs(), MODE_SHARED)]
        {
            let below = root.relative(&path);
            if !root.has_folder(below)? {
                root.create_folder(below)?;
            }
            let made = root.dir().set_permissions(below, Permissions::from_mode(mode));
            made.map_err(|error| root.failure("set the permissions of", below, &error))?;
        }
        Ok(())
    }

    /// Moves the files that an earlier run of this dataset has left in the folders of [`Self::make_work`], which are
    /// empty then. Its container was removed before they were collected. The folder to which they were moved; none if
    /// there are none, or if they were removed (`discard`).
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](crate::failure::Kind::UnsafePath) if something else is in the place of a folder; a file
    /// system that refuses.
    pub fn set_aside_earlier_files(&self, discard: bool) -> Result<Option<PathBuf>> {
        let root = self.make_work_root()?;
        let aside = self.work().join(format!("earlier-{}", Timestamp::now().as_millisecond()));
        let mut has_moved = false;
        for path in [self.work_results(), self.work_logs()] {
            let (from, to) = (root.relative(&path), root.relative(&aside));
            let mut entries = open_real_folder(root.dir(), from)
                .and_then(|folder| folder.entries())
                .map_err(|error| root.path_failure("list", from, &error))?;
            if entries.next().is_some() {
                root.create_folder(to)?;
                let moved = root.dir().rename(from, root.dir(), to.join(path.file_name().unwrap_or_default()));
                moved.map_err(|error| root.path_failure("move", from, &error))?;
                has_moved = true;
            }
        }
        if has_moved {
            self.make_work()?;
            if discard {
                // Fails for files of other users, which stay.
                let _ = root.dir().remove_dir_all(root.relative(&aside));
            }
        }
        Ok(Some(aside).filter(|_| has_moved && !discard))
    }

    /// The existing folders that are mounted in the job's container.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](crate::failure::Kind::UnsafePath) if something else is in the place of one: the engine
    /// would follow it.
    pub fn mounted(&self) -> Result<Vec<PathBuf>> {
        let mut existing = Vec::new();
        if let Some(root) = self.open_work_root()? {
            for path in [self.work_results(), self.work_logs()] {
                if root.has_folder(root.relative(&path))? {
                    existing.push(path);
                }
            }
        }
        Ok(existing)
    }

    /// Removes the copies and links of inputs that were made for this dataset's container.
    pub fn remove_staged_inputs(&self) {
        if let Ok(Some(root)) = self.open_work_root() {
            let staged = self.work_inputs();
            // Fails if there are none, or a container that still runs uses them.
            let _ = root.dir().remove_dir_all(root.relative(&staged));
        }
    }

    /// Locks this dataset's work folder between processes until the file is dropped. `None` if the folder does not
    /// exist, or if the file system cannot lock folders (NFS).
    ///
    /// A run of the job holds the lock from making the folder until the container is started. Whoever removes container
    /// and folder holds it meanwhile: otherwise the next run of the job could start in the folder that is being
    /// removed.
    pub async fn lock_work(&self) -> Option<File> {
        let work = self.work();
        loop {
            let lock = lock_folder(work.clone()).await?;
            let (locked, current) = (lock.metadata().ok()?, work.metadata().ok()?);
            // The process that had the lock may have removed this folder, and another one may have made it again.
            if (locked.dev(), locked.ino()) == (current.dev(), current.ino()) {
                return Some(lock);
            }
        }
    }

    /// Removes this dataset's work folder after its container was removed: the staged inputs, and the folders that are
    /// empty. Files that were not collected stay, unless `discard` is set.
    ///
    /// While the container exists, its mounts have to exist too: otherwise the engine neither starts it nor reads files
    /// in it, and a job that runs loses its results. The caller makes sure of that.
    pub fn remove_work(&self, discard: bool) {
        self.remove_staged_inputs();
        let Ok(Some(root)) = self.open_work_root() else { return };
        let work = self.work();
        let work = root.relative(&work);
        if discard {
            let _ = root.dir().remove_dir_all(work);
        } else {
            let _ = root.dir().remove_file(work.join(SUPERSEDED));
            if let Ok(dir) = root.dir().open_dir(work) {
                remove_empty_folders(&dir, MAX_DEPTH);
            }
            let _ = root.dir().remove_dir(work);
        }
        // Fails while other datasets of the job have work folders.
        let _ = std::fs::remove_dir(self.work_root());
    }

    /// Notes in its work folder, if that exists, that another machine has ended this attempt at the job: what was left
    /// here is not collected any more.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note_superseded(&self) -> Result<()> {
        let Some(root) = self.open_work_root()? else { return Ok(()) };
        let work = self.work();
        let work = root.relative(&work);
        let exists = root.has_folder(work)?;
        if exists { root.write_whole(&work.join(SUPERSEDED), self.attempt_text().as_bytes()) } else { Ok(()) }
    }

    /// Whether another machine has ended this attempt at the job.
    pub fn is_superseded(&self) -> bool {
        let attempt = self.attempt_text();
        let root = self.open_work_root().ok().flatten();
        let read = root.and_then(|root| root.read(&root.relative(&self.work()).join(SUPERSEDED), attempt.len() as u64));
        read.is_some_and(|read| read == attempt.as_bytes())
    }
}

/// Removes the empty folders in a folder, down to `levels` below its own. Folders that are not empty are kept.
fn remove_empty_folders(dir: &Dir, levels: usize) {
    for entry in dir.entries().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if levels > 0
                && let Ok(below) = open_real_folder(dir, entry.file_name())
            {
                remove_empty_folders(&below, levels - 1);
            }
            let _ = dir.remove_dir(entry.file_name());
        }
    }
}

/// Removes the datasets' folders in the work folder of an ended job: their staged inputs, and the folders that are
/// empty.
pub fn remove_ended_work(job: &Dir) {
    for dataset in job.entries().into_iter().flatten().flatten() {
        if let Ok(folder) = open_real_folder(job, dataset.file_name()) {
            // Copies and links that the tools have made. Fails if there are none.
            let _ = folder.remove_dir_all(INPUTS);
        }
    }
    remove_empty_folders(job, MAX_DEPTH);
}
