//! What is known of files from having read them before, so that a tree that has not changed is compared without being
//! read again.
//!
//! For every file of a tree that was brought to or from a place: its size, times and inode, its SHA-256, and which
//! version of the object holds the same. An index is a hint that costs time when it is lost, and nothing else: it lies in
//! `$XDG_CACHE_HOME/ncaas`, by default `~/.cache/ncaas`, a file for each pair of folder and place.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use ncaas_core::files;
use sha2::{Digest, Sha256};

use crate::names;
use crate::transfer::{Sha, Stamp, hex};

const MAGIC: &[u8; 8] = b"ncaas-i1";

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) stamp: Stamp,
    pub(crate) sha256: Sha,
    /// The version of the object that holds the same; empty where none is known to.
    pub(crate) version: Box<str>,
}

/// What is known of a tree.
#[derive(Debug, Default)]
pub(crate) struct Index {
    path: Option<PathBuf>,
    seen: HashMap<Name, Seen>,
    changed: bool,
}

/// The beginning of a path's SHA-256: the paths of 100,000 files take more memory than all else that is known of them.
type Name = [u8; 16];

impl Index {
    /// The index for a folder of this machine and a place in a bucket. One that is not there, or is none, is empty.
    pub(crate) fn open(folder: &Path, place: &str) -> Index {
        let identity = format!("{}\n{place}", names::path_text(folder));
        let name = hex(&Sha256::digest(identity.as_bytes()))[..32].to_owned();
        let path = cache().map(|cache| cache.join("index").join(name));
        let seen = path.as_deref().and_then(|path| read(path).ok()).unwrap_or_default();
        Index { path, seen, changed: false }
    }

    /// What is known of a file, if it is still the one it was.
    pub(crate) fn get(&self, path: &Path, stamp: &Stamp) -> Option<&Seen> {
        self.seen.get(&name(path)).filter(|seen| seen.stamp == *stamp)
    }

    pub(crate) fn insert(&mut self, path: &Path, seen: Seen) {
        // What is not kept for the next run is of no use: there may be a million files.
        if self.path.is_none() {
            return;
        }
        let name = name(path);
        if self.seen.get(&name) != Some(&seen) {
            self.seen.insert(name, seen);
            self.changed = true;
        }
    }

    /// Writes it, if there is anything new in it. What cannot be written is not known the next time.
    pub(crate) fn save(&mut self) {
        if let Some(path) = self.path.as_deref().filter(|_| self.changed) {
            let _ = write(path, &self.seen);
            self.changed = false;
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.save();
    }
}

/// Where things are kept that can be lost.
pub(crate) fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    base.or_else(|| Some(set("HOME")?.join(".cache"))).map(|base| base.join("ncaas"))
}

fn name(path: &Path) -> Name {
    use std::os::unix::ffi::OsStrExt;
    let sum = Sha256::digest(path.as_os_str().as_bytes());
    let mut name = Name::default();
    name.copy_from_slice(&sum[..16]);
    name
}

fn read(path: &Path) -> io::Result<HashMap<Name, Seen>> {
    let mut file = BufReader::with_capacity(1 << 20, fs::File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let count = u64::from_le_bytes(array(&mut file)?);
    let mut seen = HashMap::with_capacity(usize::try_from(count).unwrap_or_default().min(1 << 20));
    for _ in 0..count {
        let name = array(&mut file)?;
        let stamp = Stamp {
            size: u64::from_le_bytes(array(&mut file)?),
            modified: i64::from_le_bytes(array(&mut file)?),
            changed: i64::from_le_bytes(array(&mut file)?),
            inode: u64::from_le_bytes(array(&mut file)?),
        };
        let sha256 = array(&mut file)?;
        let [length] = array(&mut file)?;
        let mut version = vec![0; usize::from(length)];
        file.read_exact(&mut version)?;
        let version = String::from_utf8(version).map_err(|_| io::ErrorKind::InvalidData)?.into();
        seen.insert(name, Seen { stamp, sha256, version });
    }
    Ok(seen)
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map(|()| bytes)
}

fn write(path: &Path, seen: &HashMap<Name, Seen>) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let mut part = files::temporary_beside(path).map_err(|failure| io::Error::other(failure.message))?;
    let mut file = BufWriter::with_capacity(1 << 20, part.as_file_mut());
    file.write_all(MAGIC)?;
    file.write_all(&(seen.len() as u64).to_le_bytes())?;
    for (name, seen) in seen {
        // Longer ones are no version of any server that is known.
        let version = seen.version.get(..seen.version.len().min(255)).unwrap_or_default();
        file.write_all(name)?;
        file.write_all(&seen.stamp.size.to_le_bytes())?;
        file.write_all(&seen.stamp.modified.to_le_bytes())?;
        file.write_all(&seen.stamp.changed.to_le_bytes())?;
        file.write_all(&seen.stamp.inode.to_le_bytes())?;
        file.write_all(&seen.sha256)?;
        file.write_all(&[version.len() as u8])?;
        file.write_all(version.as_bytes())?;
    }
    file.flush()?;
    drop(file);
    part.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its index has failed")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_a_changed_file_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/index");
        let seen = Seen {
            stamp: Stamp { size: 3, modified: -1, changed: 7, inode: 9 },
            sha256: [5; 32],
            version: "etag-2".into(),
        };
        let mut index = Index { path: Some(path.clone()), seen: HashMap::new(), changed: false };
        index.insert(Path::new("x/y"), seen.clone());
        index.save();
        let index = Index { path: None, seen: read(&path).unwrap(), changed: false };
        assert_eq!(index.get(Path::new("x/y"), &seen.stamp), Some(&seen));
        assert_eq!(index.get(Path::new("x/y"), &Stamp { changed: 8, ..seen.stamp }), None);
        fs::write(&path, b"ncaas-i1 rubbish").unwrap();
        assert!(read(&path).is_err());
    }
}
