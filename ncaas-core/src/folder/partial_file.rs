//! Files that get their name when they are complete.

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

/// A file that is being written under a temporary name. It stays in the folder that it was opened in, even if that is moved
/// meanwhile.
#[derive(Debug)]
pub struct PartialFile {
    /// The open file.
    pub file: File,
    folder: Dir,
    name: OsString,
    final_name: OsString,
    /// Whether it stays when it is dropped.
    stays: bool,
}

impl PartialFile {
    /// An empty file of this process, which is removed when it is dropped.
    ///
    /// # Errors
    /// If the folder of `path` cannot be written.
    pub fn new(folder: &Folder, path: &Path) -> Result<PartialFile> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{TEMPORARY_PREFIX}part-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        PartialFile::open(folder, path, name, false)
    }

    /// A file whose name other processes know. It stays when it is dropped.
    ///
    /// # Errors
    /// If the folder of `path` cannot be written.
    pub fn named(folder: &Folder, path: &Path, name: &str) -> Result<PartialFile> {
        PartialFile::open(folder, path, format!("{TEMPORARY_PREFIX}part-{name}"), true)
    }

    fn open(folder: &Folder, path: &Path, name: String, stays: bool) -> Result<PartialFile> {
        let failed = |error: &io::Error| folder.failure("write", path, error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent_dir = match folder.dir().open_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.create_folder(parent)?;
                folder.dir().open_dir(parent)
            }
            opened => opened,
        };
        let parent_dir = parent_dir.map_err(|error| failed(&error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!stays);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = parent_dir.open_with(&name, &options).map_err(|error| failed(&error))?.into_std();
        let final_name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        Ok(PartialFile { file, folder: parent_dir, name: name.into(), final_name, stays })
    }

    /// Whether its temporary name still belongs to this file.
    pub(crate) fn has_its_name(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let named = self.folder.symlink_metadata(&self.name);
        named
            .is_ok_and(|named| self.file.metadata().is_ok_and(|own| own.ino() == cap_std::fs::MetadataExt::ino(&named)))
    }

    /// Gives it its final name, in place of an existing file.
    ///
    /// # Errors
    /// If a folder has that name.
    pub fn finish(mut self, folder: &Folder, path: &Path) -> Result<Metadata> {
        // Neither name contains a `/`, so no link can lead elsewhere.
        let renamed = rustix::fs::renameat(&self.folder, &self.name, &self.folder, &self.final_name);
        self.stays = renamed.is_ok();
        renamed.map_err(|error| folder.failure("write", path, &error.into()))?;
        // Renaming sets a new change time.
        self.file.metadata().map_err(|error| folder.failure("read", path, &error))
    }

    /// Removes it, because its content is of no use.
    pub(crate) fn discard(mut self) {
        self.stays = false;
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.stays {
            let _ = self.folder.remove_file(&self.name);
        }
    }
}
