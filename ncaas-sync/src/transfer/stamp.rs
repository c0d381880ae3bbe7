//! What tells that a file is still the one it was, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ncaas_core::folder::Folder;

/// Size, times and number of a file. The change time cannot be set back, unlike the modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970.
    pub(crate) changed: i64,
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// The same of a file that was looked at through a [`cap_std::fs::Dir`].
    pub(crate) fn of_contained(metadata: &cap_std::fs::Metadata) -> Stamp {
        use cap_std::fs::MetadataExt as _;
        Stamp {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// That of the file at a path, if there is one.
    pub(crate) fn at(folder: &Folder, path: &Path) -> Option<Stamp> {
        let metadata = folder.dir().metadata(path).ok().filter(cap_std::fs::Metadata::is_file)?;
        Some(Stamp::of_contained(&metadata))
    }

    /// Whether nobody has written to the file between the two. To link or rename it changes its change time too, so that
    /// the modification time decides here, and the checksum of what was read.
    pub(crate) fn is_of_same_content(&self, later: &Stamp) -> bool {
        self.size == later.size && self.modified == later.modified && self.inode == later.inode
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
