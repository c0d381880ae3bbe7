//! Where the files that come out of a container lie until they get their final names.
//!
//! A folder of the container becomes a numbered folder here, its files keep their own last names in it: whatever a
//! container calls its folders, nothing is written elsewhere, and what is one folder in the end gets there in one move.

use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ncaas_core::failure::{Failure, Result, io_kind};
use rustix::fs::{Mode, Timespec, Timestamps};
use sha2::{Digest, Sha256};

use super::found::{File, Lies, Raw, STAGE};
use ncaas_core::files::is_hole;
use ncaas_core::transfer::Sha256Sum;

/// How much is read at once.
pub(crate) const PIECE: usize = 1 << 20;

/// All numbered folders.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: Dir,
    next: AtomicU32,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct StageFolder {
    dir: Dir,
    number: u32,
}

/// A file in the stage, with the name that it has there.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(crate) file: File,
    pub(crate) name: String,
}

/// A file's permissions and time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) mode: u32,
    pub(crate) mtime: Timespec,
}

impl Stage {
    pub(crate) fn new(dir: Dir) -> Stage {
        Stage { dir, next: AtomicU32::new(0) }
    }

    /// A new folder.
    pub(crate) fn folder(&self) -> Result<StageFolder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.create_dir(number.to_string()).map_err(cannot_write)?;
        self.reopen(number)
    }

    /// A folder that was made before.
    pub(crate) fn reopen(&self, number: u32) -> Result<StageFolder> {
        let dir = self.dir.open_dir(number.to_string()).map_err(cannot_write)?;
        Ok(StageFolder { dir, number })
    }

    /// Writes what `from` has left to give, zeros as holes, into a new file. `cannot_read` words a failure of `from`.
    pub(crate) fn write(
        &self,
        folder: &StageFolder,
        name: &str,
        from: &mut impl Read,
        traits: Traits,
        buffer: &mut [u8],
        cannot_read: impl Fn(&io::Error) -> Failure,
    ) -> Result<File> {
        let (mut file, lies) = self.create(folder, name, kept_mode(traits.mode))?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut hole = false;
        loop {
            let read = fill(from, buffer).map_err(|error| cannot_read(&error))?;
            let piece = &buffer[..read];
            if !piece.is_empty() {
                digest.update(piece);
                size += read as u64;
                hole = is_hole(piece);
                if hole {
                    file.seek(SeekFrom::Current(read as i64)).map_err(cannot_write)?;
                } else {
                    file.write_all(piece).map_err(cannot_write)?;
                }
            }
            if read < buffer.len() {
                break;
            }
        }
        if hole {
            file.set_len(size).map_err(cannot_write)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(kept_mode(traits.mode)))
            .map_err(|error| cannot_write(error.into()))?;
        let times = Timestamps { last_access: traits.mtime, last_modification: traits.mtime };
        rustix::fs::futimens(&file, &times).map_err(|error| cannot_write(error.into()))?;
        Ok(File { lies, size, sha256: digest.finalize().into() })
    }

    /// Makes a second name of a file in the stage.
    pub(crate) fn link(&self, staged: &Staged, folder: &StageFolder, name: &str) -> Result<File> {
        let Staged { file, name: old } = staged;
        let Lies::Staged(number) = file.lies else { return Ok(file.clone()) };
        let old = format!("{number}/{old}");
        let lies = match self.dir.hard_link(&old, &folder.dir, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let own = self.folder()?;
                self.dir.hard_link(&old, &own.dir, name).map_err(cannot_write)?;
                own.lies()
            }
            done => done.map(|()| folder.lies()).map_err(cannot_write)?,
        };
        Ok(File { lies, ..file.clone() })
    }

    fn create(&self, folder: &StageFolder, name: &str, mode: u32) -> Result<(cap_std::fs::File, Lies)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        match folder.dir.open_with(name, &options) {
            // Two names that differ only in bytes that are no text may be the same as text: here they are kept apart,
            // and in the end they get two names.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.create(&self.folder()?, name, mode),
            file => Ok((file.map_err(cannot_write)?, folder.lies())),
        }
    }
}

impl StageFolder {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Where it lies, relative to the dataset's work folder.
    pub(crate) fn path(&self) -> Raw {
        Raw::Text(format!("{STAGE}/{}", self.number))
    }

    fn lies(&self) -> Lies {
        Lies::Staged(self.number)
    }
}

/// The permissions that a result keeps: no setuid, setgid and sticky bits, for whoever made it need not be trusted; and
/// the user who ran the tool can read it.
pub(crate) fn kept_mode(mode: u32) -> u32 {
    mode & 0o777 | 0o400
}

/// A path's last name.
pub(crate) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Size and SHA-256 of what is left to read.
pub(crate) fn sum(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<(u64, Sha256Sum)> {
    let mut digest = Sha256::new();
    let mut size = 0;
    loop {
        let read = fill(from, buffer)?;
        digest.update(&buffer[..read]);
        size += read as u64;
        if read < buffer.len() {
            return Ok((size, digest.finalize().into()));
        }
    }
}

pub(crate) fn cannot_write(error: io::Error) -> Failure {
    let reason = error.to_string();
    let reason = reason.split(" (os error ").next().unwrap_or(&reason).to_lowercase();
    Failure::new(io_kind(&error), format!("cannot write what came from the container: {reason}"))
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens a folder that is one, and no link to one.
pub(crate) fn open_folder(dir: &Dir, path: impl AsRef<Path>) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed());
    Ok(Dir::from_std_file(dir.open_with(path, &options)?.into_std()))
}

/// Opens a file to read that is no link, without waiting where it is a FIFO by now.
pub(crate) fn open_file(dir: &Dir, name: &OsStr) -> io::Result<cap_std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed());
    dir.open_with(name, &options)
}
