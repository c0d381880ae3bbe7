//! Files that appear complete or not at all. [`crate::folder`] does the same in folders that a container can write to.

use std::fs::{File, FileType};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags};
use sha2::{Digest, Sha256};

use crate::blocking::run_blocking;
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::quantity::format_bytes;
use crate::suggestion::suggest_file;
use crate::text;

/// The beginning of the names of the tools' own files: incomplete files and locks. They are never listed, collected or
/// uploaded.
pub const TEMPORARY_PREFIX: &str = ".ncaas-";

/// Disk space that jobs and downloads leave free, in bytes.
pub const MIN_FREE: u64 = 64 << 20;

/// The folder for files that may be lost: `$XDG_CACHE_HOME/ncaas`, by default `~/.cache/ncaas`. None without a home
/// directory.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    base.or_else(|| Some(variable("HOME")?.join(".cache"))).map(|base| base.join("ncaas"))
}

/// A unique id of 32 hex digits. It is not a secret.
pub fn random_id() -> String {
    let half = || RandomState::new().hash_one((std::process::id(), SystemTime::now()));
    format!("{:016x}{:016x}", half(), half())
}

/// Writes a file atomically: readers see the old or the new content.
///
/// Creates the folder if it does not exist.
///
/// # Errors
/// If the disk is full or the folder cannot be written.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut file = temporary_beside(path)?;
    file.write_all(content).doing("write", path)?;
    file.persist(path).map(drop).map_err(|error| error.error).doing("write", path)
}

/// A file in the folder of `path` with the usual permissions. It is removed unless it is persisted.
///
/// # Errors
/// If the folder cannot be written.
pub fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .doing("write in", folder)
}

/// Opens a regular file without waiting for the writer of a FIFO.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).doing("read", path)?;
    let kind = file.metadata().doing("read", path)?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let cause = match stream_kind(kind) {
        Some(kind) => format!("it is {kind}, not a regular file"),
        None => "it is not a regular file".to_owned(),
    };
    Err(Failure::new(Kind::UnsafePath, format!("cannot read `{}`: {cause}", path.display())))
}

/// Opens a file that the user names: a regular file, or a stream that a shell has opened for this process (`<(...)`,
/// `/dev/stdin`), which ends by itself.
///
/// # Errors
/// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] if it is not a regular file.
pub fn open_named(path: &Path) -> Result<File> {
    if ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|streams| path.starts_with(streams)) {
        return File::open(path).doing("read", path);
    }
    open_regular(path)
}

/// Reads a text file that the user names, without its byte order mark. Only UTF-16 and UTF-32 are refused.
///
/// # Errors
/// Same as [`open_named`] and [`check_not_utf16`].
pub fn read_named(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = open_named(path).map_err(|failure| suggest_file(failure, path))?;
    file.read_to_end(&mut content).doing("read", path)?;
    check_not_utf16(path, &content)?;
    let mark = content.len() - text::without_bom(&content).len();
    Ok(content.split_off(mark))
}

/// Refuses the content of a text file in UTF-16, which some editors of Windows write.
///
/// # Errors
/// [`Kind::Usage`].
pub fn check_not_utf16(path: &Path, content: &[u8]) -> Result<()> {
    if text::is_utf16(content) {
        let message = format!("`{}` is encoded in UTF-16 or UTF-32: save it as UTF-8", path.display());
        return Err(Failure::new(Kind::Usage, message));
    }
    Ok(())
}

/// The name of a file type that has no content to copy or mount: a pipe or a socket.
pub(crate) fn stream_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        None
    }
}

/// Why an entry of a folder with this `st_mode` cannot be stored, if it is neither a file, a folder nor a link.
pub fn special_file(mode: u32) -> Option<&'static str> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Fifo => Some("it is a FIFO"),
        rustix::fs::FileType::Socket => Some("it is a socket"),
        rustix::fs::FileType::CharacterDevice | rustix::fs::FileType::BlockDevice => Some("it is a device"),
        _ => None,
    }
}

/// Creates a folder and its parents.
///
/// # Errors
/// If one cannot be created.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).doing("create the folder", path)
}

/// Locks a folder between processes until the file is dropped. None if the file system cannot lock folders (NFS).
pub async fn lock_folder(folder: PathBuf) -> Option<File> {
    let lock = move || {
        let file = File::open(folder).ok()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)).ok()?;
        Some(file)
    };
    run_blocking(move || Ok(lock())).await.ok().flatten()
}

/// Checks that a disk has free space for `needed` more bytes. `path` is a file or folder on it.
///
/// # Errors
/// [`Kind::DiskFull`], or if the disk cannot be examined.
pub fn check_free_space(path: &Path, needed: u64, what: &str) -> Result<()> {
    let disk = rustix::fs::statvfs(path).map_err(io::Error::from).doing("read the free disk space of", path)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let (free, needed, path) = (format_bytes(free), format_bytes(needed), path.display());
    Err(Failure::new(Kind::DiskFull, format!("the disk of `{path}` has {free} free, and {what} needs {needed}")))
}

/// Checks that the disk of an open file could hold as many bytes as the file has.
///
/// A sparse file takes no space for zeros that were never written, so a program may create one of any size in no time;
/// to read it takes hours.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`], or if file or disk cannot be examined.
pub fn check_plausible_size(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.blocks().saturating_mul(512) >= metadata.len() {
        return Ok(());
    }
    let disk = rustix::fs::fstatvfs(file)?;
    if disk.f_blocks.saturating_mul(disk.f_frsize) >= metadata.len() {
        return Ok(());
    }
    let size = format_bytes(metadata.len());
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("its size of {size} is more than its disk can hold")))
}

/// Whether the bytes are all zero, and enough for a file system to store a hole instead.
fn is_hole(bytes: &[u8]) -> bool {
    const BLOCK: usize = 4096;
    bytes.len() >= BLOCK && bytes.chunks(BLOCK).all(|block| *block == [0; BLOCK][..block.len()])
}

/// Writes bytes at the file's position; zeros become a hole. Returns whether they did: the last hole does not extend
/// the file.
///
/// # Errors
/// If the disk is full.
pub fn write_or_skip(mut file: &File, bytes: &[u8]) -> io::Result<bool> {
    let skips = is_hole(bytes);
    if skips { file.seek_relative(bytes.len() as i64) } else { file.write_all(bytes) }.map(|()| skips)
}

/// Reads until the buffer is full or the input ends. Returns how many bytes were read.
///
/// # Errors
/// If reading fails.
pub fn fill_buffer(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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

/// The size in bytes and the SHA-256 of the rest of a file, read through `buffer`.
///
/// # Errors
/// If reading fails.
pub fn hash_rest(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<(u64, [u8; 32])> {
    let mut digest = Sha256::new();
    let mut size = 0;
    loop {
        let read = fill_buffer(from, buffer)?;
        digest.update(&buffer[..read]);
        size += read as u64;
        if read < buffer.len() {
            return Ok((size, digest.finalize().into()));
        }
    }
}

/// The absolute form of a path without `..`, which need not exist. Links are kept, except those before a
/// `..`, which are resolved.
///
/// # Errors
/// If the working directory was removed, or a folder before a `..` does not exist.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).doing("find", path)?;
    let parts: Vec<Component> = path.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else { return Ok(path) };
    let above: PathBuf = parts[..=last].iter().collect();
    let resolved = above.canonicalize().doing("find", &above)?;
    Ok(parts[last + 1..].iter().fold(resolved, |path, part| path.join(part)))
}

/// A path as people read it: relative to the working directory if it is below it.
pub fn relative_to_working_directory(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_absolute_path_has_no_parent_folders_and_need_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("a")).unwrap();
        assert_eq!(absolute(&root.join("a/../new/x")).unwrap(), root.join("new/x"));
        assert_eq!(absolute(&root.join("a/..")).unwrap(), root);
        assert!(absolute(&root.join("missing/../x")).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_and_readable_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }
}
