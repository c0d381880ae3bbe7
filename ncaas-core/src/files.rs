//! Files that appear complete or not at all. [`crate::folder`] does the same in folders that a container can write to.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::failure::{IoContext, Result};

/// The beginning of the names of the tools' own files: incomplete files and locks. They are never listed, collected or uploaded.
pub const TEMPORARY_PREFIX: &str = ".ncaas-";

/// The folder for files that may be lost: `$XDG_CACHE_HOME/ncaas`, by default `~/.cache/ncaas`. None without a home directory.
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

/// Creates a folder and its parents.
///
/// # Errors
/// If one cannot be created.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).doing("create the folder", path)
}

/// Whether the bytes are all zero, and enough for a file system to store a hole instead.
pub fn is_hole(bytes: &[u8]) -> bool {
    const BLOCK: usize = 4096;
    bytes.len() >= BLOCK && bytes.chunks(BLOCK).all(|block| *block == [0; BLOCK][..block.len()])
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

/// The absolute form of a path, which need not exist. Links are kept.
///
/// # Errors
/// If the working directory was removed.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing("find", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
