//! A file of this machine that is being uploaded, and whether it stays as it is meanwhile.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::failure::{Failure, IoContext, Kind, Result};

use super::object::{Content, Summing};

/// How much of a file is in memory at once while it is read from end to end.
pub(super) const CHUNK: usize = 256 * 1024;

/// An open file that is to be uploaded whole and unchanged.
pub(super) struct Source {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

/// What changes when somebody writes to a file. The change time cannot be set back, unlike the modification time.
#[derive(PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Links and permissions alter the change time too, so it counts only together with these.
    links_and_mode: (u64, u32),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            links_and_mode: (metadata.nlink(), metadata.mode()),
        }
    }

    fn is_of_same_content(&self, later: &Stamp) -> bool {
        let touched_only = self.links_and_mode != later.links_and_mode;
        self.size == later.size && self.modified == later.modified && (touched_only || self.changed == later.changed)
    }
}

impl Source {
    /// Opens a regular file; a FIFO or a device is refused without waiting on it.
    pub(super) fn open(path: &Path) -> Result<Source> {
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).doing("read", path)?;
        Source::of(file, path)
    }

    /// Takes an open file, read from its start. `path` is for messages only.
    pub(super) fn of(file: File, path: &Path) -> Result<Source> {
        let metadata = file.metadata().doing("read", path)?;
        if !metadata.is_file() {
            return Err(Failure::new(
                Kind::UnsafePath,
                format!("cannot read `{}`: not a regular file", path.display()),
            ));
        }
        Ok(Source { file, path: path.to_owned(), stamp: Stamp::of(&metadata) })
    }

    /// Its size when it was opened, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Reads all of it, hands each piece on, and fails if it is not the file that was opened any more.
    pub(super) fn read_through(&mut self, mut piece: impl FnMut(&[u8]) -> Result<()>) -> Result<Content> {
        let mut summing = Summing::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::io("read", &self.path, &error)),
            };
            summing.update(&buffer[..read]);
            if summing.size() > self.size() {
                return Err(self.changed());
            }
            piece(&buffer[..read])?;
        }
        let content = summing.finish();
        self.check_whole(content.size)?;
        Ok(content)
    }

    /// Goes back to the start, to read it once more.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.file.rewind().doing("read", &self.path)
    }

    /// Reads the next `length` bytes, or what is left of the file.
    pub(super) fn read_part(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut part = Vec::with_capacity(usize::try_from(length.min(self.size())).unwrap_or_default());
        (&self.file).take(length).read_to_end(&mut part).doing("read", &self.path)?;
        Ok(part)
    }

    /// Fails unless `read` bytes were all there was, and nobody has written to the file since it was opened.
    pub(super) fn check_whole(&self, read: u64) -> Result<()> {
        let now = Stamp::of(&self.file.metadata().doing("read", &self.path)?);
        if read != self.size() || !self.stamp.is_of_same_content(&now) {
            return Err(self.changed());
        }
        Ok(())
    }

    /// The failure of a file that changed under the reader.
    pub(super) fn changed(&self) -> Failure {
        Failure::new(Kind::ChecksumMismatch, format!("`{}` changed while it was read", self.path.display()))
            .hint("nothing was stored; run it again when the file is complete")
    }
}
