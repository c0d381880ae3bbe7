//! Files that get their name when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{OFlags, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use super::open_folder::Folder;
use crate::failure::Result;
use crate::files::{TEMPORARY_PREFIX, random_id};

/// A file that is being written under a temporary name. It stays in the folder that it was opened in, even if that is
/// moved meanwhile.
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

impl Folder {
    /// Writes a file atomically: readers see the old or the new content.
    ///
    /// # Errors
    /// If the disk is full, or a link leads out.
    pub fn write_with(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let mut part = PartialFile::new(self, path)?;
        write(&mut part.file).map_err(|error| self.path_failure("write", path, &error))?;
        part.finish(self, path).map(drop)
    }

    /// The same for content in memory.
    ///
    /// # Errors
    /// If the disk is full, or a link leads out.
    pub fn write_whole(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.write_with(path, |file| file.write_all(content))
    }

    /// A file without a name in a folder below it. The system removes it even if this process is killed.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn nameless_file(&self, folder: &Path) -> Result<File> {
        let part = PartialFile::new(self, &folder.join("nameless"))?;
        part.file.try_clone().map_err(|error| self.path_failure("write in", folder, &error))
    }
}

impl PartialFile {
    /// An empty file of this process, which is removed when it is dropped.
    ///
    /// # Errors
    /// If the folder of `path` cannot be written.
    pub fn new(folder: &Folder, path: &Path) -> Result<PartialFile> {
        PartialFile::open_below(folder, path, random_id(), false)
    }

    /// An empty file in an open folder, which is removed when it is dropped.
    pub(crate) fn in_folder(folder: Dir, final_name: &str) -> io::Result<PartialFile> {
        PartialFile::open(folder, final_name.as_ref(), random_id(), false)
    }

    /// A file whose name other processes know. It stays when it is dropped.
    ///
    /// # Errors
    /// If the folder of `path` cannot be written.
    pub fn named(folder: &Folder, path: &Path, name: &str) -> Result<PartialFile> {
        PartialFile::open_below(folder, path, name.to_owned(), true)
    }

    fn open_below(folder: &Folder, path: &Path, name: String, stays: bool) -> Result<PartialFile> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent_dir = match folder.dir().open_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.create_folder(parent)?;
                folder.dir().open_dir(parent)
            }
            opened => opened,
        };
        let final_name = path.file_name().unwrap_or(OsStr::new(""));
        let opened = parent_dir.and_then(|parent| PartialFile::open(parent, final_name, name, stays));
        opened.map_err(|error| folder.failure("write", path, &error))
    }

    fn open(folder: Dir, final_name: &OsStr, name: String, stays: bool) -> io::Result<PartialFile> {
        let name = format!("{TEMPORARY_PREFIX}part-{name}");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!stays);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = folder.open_with(&name, &options)?.into_std();
        Ok(PartialFile { file, folder, name: name.into(), final_name: final_name.to_owned(), stays })
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
        self.rename().map_err(|error| folder.failure("write", path, &error))?;
        // Renaming sets a new change time.
        self.file.metadata().map_err(|error| folder.failure("read", path, &error))
    }

    /// Gives it its final name, in place of an existing file.
    pub(crate) fn rename(&mut self) -> io::Result<()> {
        // Neither name contains a `/`, so no link can lead elsewhere.
        renameat(&self.folder, &self.name, &self.folder, &self.final_name)?;
        self.stays = true;
        Ok(())
    }

    /// Gives it its final name unless that exists. If many try at once, exactly one succeeds.
    pub(crate) fn rename_if_free(&mut self) -> io::Result<bool> {
        let renamed = renameat_with(&self.folder, &self.name, &self.folder, &self.final_name, RenameFlags::NOREPLACE);
        let named = match renamed {
            // NFS cannot do this, but has hard links; exFAT has none, but can do this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link(),
            renamed => {
                self.stays = renamed.is_ok();
                renamed.map_err(io::Error::from)
            }
        };
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            named => named.map(|()| true),
        }
    }

    /// Gives it its final name beside the temporary one, which is removed when it is dropped.
    fn link(&self) -> io::Result<()> {
        self.folder.hard_link(&self.name, &self.folder, &self.final_name)
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

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn rename_and_link_never_replace_an_existing_name_and_a_dropped_file_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        let part = |name: &str| PartialFile::in_folder(folder.try_clone().unwrap(), name).unwrap();
        let names = || {
            let names = folder.entries().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        drop(part("a"));
        assert_eq!(names(), Vec::<String>::new());
        assert!(part("a").rename_if_free().unwrap());
        assert!(!part("a").rename_if_free().unwrap());
        part("b").link().unwrap();
        assert_eq!(part("b").link().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(), ["a", "b"]);
    }
}
