//! Metadata that shows whether a file has changed, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::folder::Folder;

/// Size, times and inode of a file. The change time cannot be set back, unlike the modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileStamp {
    /// In bytes.
    pub size: u64,
    /// When its content was last changed, in nanoseconds since 1970.
    pub modified: i64,
    /// When its content or metadata was last changed, in nanoseconds since 1970.
    pub changed: i64,
    /// Number of its inode.
    pub inode: u64,
}

impl FileStamp {
    /// The stamp of an open file.
    pub fn from_metadata(metadata: &Metadata) -> FileStamp {
        FileStamp {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// The stamp of a file of a [`cap_std::fs::Dir`].
    pub fn from_contained(metadata: &cap_std::fs::Metadata) -> FileStamp {
        use cap_std::fs::MetadataExt as _;
        FileStamp {
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// The stamp of the regular file at a path, if there is one.
    pub fn read(folder: &Folder, path: &Path) -> Option<FileStamp> {
        let metadata = folder.dir().metadata(path).ok().filter(cap_std::fs::Metadata::is_file)?;
        Some(FileStamp::from_contained(&metadata))
    }

    /// Whether nobody has written to the file between the two stamps. Linking or renaming the file alters its change
    /// time too, so the modification time decides.
    pub(crate) fn has_same_content(&self, later: &FileStamp) -> bool {
        self.size == later.size && self.modified == later.modified && self.inode == later.inode
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
