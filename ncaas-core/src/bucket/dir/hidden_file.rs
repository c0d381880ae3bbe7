//! A file that gets its name when it is complete.

use std::io;

use cap_std::fs::{Dir, File, OpenOptions};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::bucket::key::RESERVED;
use crate::files::random_id;

/// A file with a hidden name in the folder of its final name, and so on the same file system. It is removed if it is
/// dropped before it gets its final name.
pub(super) struct HiddenFile<'a> {
    folder: &'a Dir,
    hidden: String,
    pub(super) file: File,
    is_renamed: bool,
}

impl<'a> HiddenFile<'a> {
    pub(super) fn create(folder: &'a Dir) -> io::Result<HiddenFile<'a>> {
        let hidden = format!("{RESERVED}part-{}", random_id());
        let file = folder.open_with(&hidden, OpenOptions::new().write(true).create_new(true))?;
        Ok(HiddenFile { folder, hidden, file, is_renamed: false })
    }

    /// Gives the file its name, in place of an existing file.
    pub(super) fn rename_over(mut self, name: &str) -> io::Result<()> {
        self.folder.rename(&self.hidden, self.folder, name)?;
        self.is_renamed = true;
        Ok(())
    }

    /// Gives the file its name unless that exists. If many try at once, exactly one succeeds.
    pub(super) fn rename_if_free(mut self, name: &str) -> io::Result<bool> {
        let done = match self.try_rename(name) {
            // NFS cannot do this, but has hard links; exFAT has none, but can do this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.try_link(name),
            done => done.map_err(io::Error::from),
        };
        match done {
            Ok(renamed) => {
                self.is_renamed = renamed;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns true: the hidden name is gone.
    fn try_rename(&self, name: &str) -> Result<bool, Errno> {
        rustix::fs::renameat_with(self.folder, &self.hidden, self.folder, name, RenameFlags::NOREPLACE)?;
        Ok(true)
    }

    /// Returns false: the file has both names, and the hidden one is still to be removed.
    fn try_link(&self, name: &str) -> io::Result<bool> {
        self.folder.hard_link(&self.hidden, self.folder, name)?;
        Ok(false)
    }
}

impl Drop for HiddenFile<'_> {
    fn drop(&mut self) {
        if !self.is_renamed {
            // If this fails, a hidden file is left that no listing shows.
            let _ = self.folder.remove_file(&self.hidden);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use cap_std::ambient_authority;

    use super::*;

    fn names(folder: &Dir) -> Vec<String> {
        let mut names: Vec<_> =
            folder.entries().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_file_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        HiddenFile::create(&folder).unwrap().file.write_all(b"x").unwrap();
        assert_eq!(names(&folder), Vec::<String>::new());
    }

    #[test]
    fn a_name_is_given_once_by_rename_and_by_link() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        assert!(HiddenFile::create(&folder).unwrap().rename_if_free("a").unwrap());
        assert!(!HiddenFile::create(&folder).unwrap().rename_if_free("a").unwrap());
        assert!(!HiddenFile::create(&folder).unwrap().try_link("b").unwrap());
        let taken = HiddenFile::create(&folder).unwrap().try_link("b").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(&folder), ["a", "b"]);
    }
}
