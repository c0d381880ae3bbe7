//! A file that is being written and gets its name only when it is whole.

use std::io;

use cap_std::fs::{Dir, File, OpenOptions};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::bucket::key::RESERVED;
use crate::bucket::object::nonce;

/// A file under a hidden name beside the one it is to have, which is on the same file system for sure. Dropped before
/// it was given its name, it is removed.
pub(super) struct Part<'a> {
    folder: &'a Dir,
    hidden: String,
    pub(super) file: File,
    named: bool,
}

impl<'a> Part<'a> {
    pub(super) fn create(folder: &'a Dir) -> io::Result<Part<'a>> {
        let hidden = format!("{RESERVED}part-{}", nonce());
        let file = folder.open_with(&hidden, OpenOptions::new().write(true).create_new(true))?;
        Ok(Part { folder, hidden, file, named: false })
    }

    /// Gives the file its name, in place of what may have it.
    pub(super) fn replace(mut self, name: &str) -> io::Result<()> {
        self.folder.rename(&self.hidden, self.folder, name)?;
        self.named = true;
        Ok(())
    }

    /// Gives the file its name unless something has it; of many who try at once, exactly one succeeds.
    pub(super) fn name_if_free(mut self, name: &str) -> io::Result<bool> {
        let done = match self.rename_if_free(name) {
            // Not every file system can: NFS cannot, but it has hard links; exFAT has none, but it can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_if_free(name),
            done => done.map_err(io::Error::from),
        };
        match done {
            Ok(renamed) => {
                self.named = renamed;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// True: the hidden name is gone.
    fn rename_if_free(&self, name: &str) -> Result<bool, Errno> {
        rustix::fs::renameat_with(self.folder, &self.hidden, self.folder, name, RenameFlags::NOREPLACE)?;
        Ok(true)
    }

    /// False: the file has both names, and the hidden one is still to be removed.
    fn link_if_free(&self, name: &str) -> io::Result<bool> {
        self.folder.hard_link(&self.hidden, self.folder, name)?;
        Ok(false)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.named {
            // Failing to remove it leaves a hidden file that no listing shows.
            let _ = self.folder.remove_file(&self.hidden);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
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
    fn a_part_that_is_dropped_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        Part::create(&folder).unwrap().file.write_all(b"x").unwrap();
        assert_eq!(names(&folder), Vec::<String>::new());
    }

    #[test]
    fn a_name_is_given_once_by_rename_and_by_link_alike() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        assert!(Part::create(&folder).unwrap().name_if_free("a").unwrap());
        assert!(!Part::create(&folder).unwrap().name_if_free("a").unwrap());
        assert!(!Part::create(&folder).unwrap().link_if_free("b").unwrap());
        let taken = Part::create(&folder).unwrap().link_if_free("b").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(&folder), ["a", "b"]);
    }
}
