//! The staging folder: files copied out of a container wait here until they have their names.
//!
//! A folder of the container becomes a numbered folder here, in which its files keep their own names. So the names that
//! a container chose cannot lead elsewhere, and a folder of results can be moved in one step.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ncaas_core::failure::{Failure, Result, innermost_cause, io_kind};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use sha2::{Digest, Sha256};

use super::findings::{FoundFile, Location, RawPath, STAGE};
use ncaas_core::files::{check_plausible_size, fill_buffer, write_or_skip};
use ncaas_core::processes::field;

/// Bytes read at once.
pub(crate) const BUFFER_SIZE: usize = 1 << 20;

/// The staging folder of one dataset.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: Dir,
    next: AtomicU32,
}

/// One of its numbered folders.
#[derive(Debug)]
pub(crate) struct StagingFolder {
    dir: Dir,
    number: u32,
}

/// A file in the staging folder, with its name there.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) file: FoundFile,
    pub(crate) name: String,
}

/// Permissions and modification time of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) mtime: Timespec,
}

impl Staging {
    pub(crate) fn new(dir: Dir) -> Staging {
        Staging { dir, next: AtomicU32::new(0) }
    }

    pub(crate) fn create_folder(&self) -> Result<StagingFolder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.create_dir(number.to_string()).map_err(cannot_write)?;
        self.open_folder(number)
    }

    pub(crate) fn open_folder(&self, number: u32) -> Result<StagingFolder> {
        let dir = self.dir.open_dir(number.to_string()).map_err(cannot_write)?;
        Ok(StagingFolder { dir, number })
    }

    /// Copies the rest of `from` into a new file, with holes for zeros. `cannot_read` words a failure of `from`.
    pub(crate) fn write(
        &self,
        folder: &StagingFolder,
        name: &str,
        from: &mut impl Read,
        attributes: Attributes,
        buffer: &mut [u8],
        cannot_read: impl Fn(&io::Error) -> Failure,
    ) -> Result<FoundFile> {
        let mode = result_mode(attributes.mode);
        let (file, location) = self.create_file(folder, name, mode)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut ends_in_hole = false;
        loop {
            let read = fill_buffer(from, buffer).map_err(|error| cannot_read(&error))?;
            let piece = &buffer[..read];
            if !piece.is_empty() {
                digest.update(piece);
                size += read as u64;
                ends_in_hole = write_or_skip(&file, piece).map_err(cannot_write)?;
            }
            if read < buffer.len() {
                break;
            }
        }
        if ends_in_hole {
            file.set_len(size).map_err(cannot_write)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| cannot_write(error.into()))?;
        let times = Timestamps { last_access: attributes.mtime, last_modification: attributes.mtime };
        rustix::fs::futimens(&file, &times).map_err(|error| cannot_write(error.into()))?;
        Ok(FoundFile { location, size, sha256: digest.finalize().into() })
    }

    /// Adds a second name, a hard link, for a file in the staging folder.
    pub(crate) fn hard_link(&self, staged: &StagedFile, folder: &StagingFolder, name: &str) -> Result<FoundFile> {
        let StagedFile { file, name: old } = staged;
        let Location::Staged(number) = file.location else { return Ok(file.clone()) };
        let old = format!("{number}/{old}");
        let location = match self.dir.hard_link(&old, &folder.dir, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let own = self.create_folder()?;
                self.dir.hard_link(&old, &own.dir, name).map_err(cannot_write)?;
                own.location()
            }
            linked => linked.map(|()| folder.location()).map_err(cannot_write)?,
        };
        Ok(FoundFile { location, ..file.clone() })
    }

    fn create_file(&self, folder: &StagingFolder, name: &str, mode: u32) -> Result<(File, Location)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        match folder.dir.open_with(name, &options) {
            // Two names with different non-UTF-8 bytes may be the same text. A separate folder keeps them apart.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.create_file(&self.create_folder()?, name, mode)
            }
            file => Ok((file.map_err(cannot_write)?.into_std(), folder.location())),
        }
    }
}

impl StagingFolder {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Its path relative to the dataset's work folder.
    pub(crate) fn path(&self) -> RawPath {
        RawPath::Text(format!("{STAGE}/{}", self.number))
    }

    fn location(&self) -> Location {
        Location::Staged(self.number)
    }
}

/// The permissions of a result: without setuid, setgid and sticky bits, because the author of the file is not trusted,
/// within the umask of the user who runs the tool, and readable for that user.
pub(crate) fn result_mode(mode: u32) -> u32 {
    mode & 0o777 & !umask() | 0o400
}

/// The umask of this process. It is read from `/proc`, because `umask(2)` changes it for a moment.
pub(crate) fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = field(&status, "Umask:").and_then(|umask| u32::from_str_radix(umask, 8).ok());
        umask.unwrap_or(0o022)
    })
}

fn cannot_write(error: io::Error) -> Failure {
    let message = format!("cannot write a file from the container: {}", innermost_cause(&error));
    Failure::new(io_kind(&error), message)
}

/// Opens a file for reading, but not a link to one. Does not block if it is now a FIFO.
pub(crate) fn open_file(dir: &Dir, name: &OsStr) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed());
    let file = dir.open_with(name, &options)?.into_std();
    check_plausible_size(&file)?;
    Ok(file)
}
