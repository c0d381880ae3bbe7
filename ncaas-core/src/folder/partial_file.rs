//! Files that get their name when all of them is there.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use super::Folder;
use crate::failure::Result;
use crate::files::TEMPORARY_PREFIX;

/// A file that is being written, beside its place until all of it is there. It stays in the folder that it was opened in,
/// wherever that is moved meanwhile.
#[derive(Debug)]
pub struct PartialFile {
    /// What is to be written to.
    pub file: File,
    within: Dir,
    name: OsString,
    /// What it is to be called.
    becomes: OsString,
    /// Whether it stays when it is dropped.
    stays: bool,
}

impl PartialFile {
    /// An empty one of this process alone, which goes when it is dropped.
    ///
    /// # Errors
    /// When the folder of `path` cannot be written.
    pub fn new(folder: &Folder, path: &Path) -> Result<PartialFile> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{TEMPORARY_PREFIX}part-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        PartialFile::open(folder, path, name, false)
    }

    /// One of a name that other processes know, which stays when it is dropped.
    ///
    /// # Errors
    /// When the folder of `path` cannot be written.
    pub fn named(folder: &Folder, path: &Path, name: &str) -> Result<PartialFile> {
        PartialFile::open(folder, path, format!("{TEMPORARY_PREFIX}part-{name}"), true)
    }

    fn open(folder: &Folder, path: &Path, name: String, stays: bool) -> Result<PartialFile> {
        let failed = |error: &io::Error| folder.failure("write", path, error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let within = match folder.dir().open_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.make_below(parent)?;
                folder.dir().open_dir(parent)
            }
            within => within,
        };
        let within = within.map_err(|error| failed(&error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!stays);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = within.open_with(&name, &options).map_err(|error| failed(&error))?.into_std();
        let becomes = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        Ok(PartialFile { file, within, name: name.into(), becomes, stays })
    }

    /// Whether it is still what its name stands for.
    pub fn has_its_name(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let there = self.within.symlink_metadata(&self.name);
        there.is_ok_and(|there| {
            self.file.metadata().is_ok_and(|ours| ours.ino() == cap_std::fs::MetadataExt::ino(&there))
        })
    }

    /// Gives it its name, over what may have that.
    ///
    /// # Errors
    /// When a folder has that name.
    pub fn finish(mut self, folder: &Folder, path: &Path) -> Result<Metadata> {
        // Neither name has a `/` in it: no link can lead them elsewhere.
        let renamed = rustix::fs::renameat(&self.within, &self.name, &self.within, &self.becomes);
        self.stays = renamed.is_ok();
        renamed.map_err(|error| folder.failure("write", path, &error.into()))?;
        // Only now: a new name is a new change time.
        self.file.metadata().map_err(|error| folder.failure("read", path, &error))
    }

    /// Removes it: nothing of it can be gone on with.
    pub fn discard(mut self) {
        self.stays = false;
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.stays {
            let _ = self.within.remove_file(&self.name);
        }
    }
}
