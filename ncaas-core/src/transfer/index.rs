//! Checksums of files from earlier runs, so that an unchanged tree is compared without being read again.
//!
//! For each transferred file of a tree, the index holds its size, times, inode and SHA-256, and the version of the
//! object with the same content. It is only a hint: losing it costs time and nothing else. Each pair of local folder
//! and bucket prefix has one index file in `$XDG_CACHE_HOME/ncaas`, by default `~/.cache/ncaas`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checksums::Sha256Sum;
use crate::file_stamp::FileStamp;
use crate::files;

const MAGIC: &[u8; 8] = b"ncaas-i1";

/// A file whose checksum is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownFile {
    pub(super) stamp: FileStamp,
    pub(super) sha256: Sha256Sum,
    /// The version of the object with the same content; empty if there is none.
    pub(super) version: Box<str>,
}

impl KnownFile {
    pub(super) fn new(stamp: FileStamp, sha256: Sha256Sum, version: impl Into<Box<str>>) -> KnownFile {
        KnownFile { stamp, sha256, version: version.into() }
    }
}

/// The known files of a tree.
#[derive(Debug, Default)]
pub(super) struct Index {
    path: Option<PathBuf>,
    files: HashMap<PathHash, KnownFile>,
    changed: bool,
}

/// The beginning of a path's SHA-256: the paths of 100,000 files take more memory than everything else about them.
type PathHash = [u8; 16];

impl Index {
    /// The index of a local folder and a prefix in a bucket. A missing or unreadable one is empty.
    pub(super) fn open(folder: &Path, prefix: &str) -> Index {
        let identity = [folder.as_os_str().as_bytes(), b"\n", prefix.as_bytes()].concat();
        let name = hex::encode(&Sha256::digest(identity)[..16]);
        let path = files::cache_folder().map(|cache| cache.join("index").join(name));
        let files = path.as_deref().and_then(|path| read(path).ok()).unwrap_or_default();
        Index { path, files, changed: false }
    }

    /// The entry of a file, if the file has not changed since.
    pub(super) fn get(&self, path: &Path, stamp: &FileStamp) -> Option<&KnownFile> {
        self.files.get(&path_hash(path)).filter(|file| file.stamp == *stamp)
    }

    pub(super) fn insert(&mut self, path: &Path, file: KnownFile) {
        // Without an index file there is no next run that could use the entry, and there may be a million of them.
        if self.path.is_none() {
            return;
        }
        let hash = path_hash(path);
        if self.files.get(&hash) != Some(&file) {
            self.files.insert(hash, file);
            self.changed = true;
        }
    }

    /// Writes the index file if anything is new. A failure to write it only costs time in the next run.
    pub(super) fn save(&mut self) {
        if let Some(path) = self.path.as_deref().filter(|_| self.changed) {
            let _ = write(path, &self.files);
            self.changed = false;
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.save();
    }
}

fn path_hash(path: &Path) -> PathHash {
    let sum = Sha256::digest(path.as_os_str().as_bytes());
    let mut hash = PathHash::default();
    hash.copy_from_slice(&sum[..16]);
    hash
}

fn read(path: &Path) -> io::Result<HashMap<PathHash, KnownFile>> {
    let mut file = BufReader::with_capacity(1 << 20, fs::File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let count = u64::from_le_bytes(array(&mut file)?);
    let mut files = HashMap::with_capacity(usize::try_from(count).unwrap_or_default().min(1 << 20));
    for _ in 0..count {
        let hash = array(&mut file)?;
        let stamp = FileStamp {
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
        files.insert(hash, KnownFile { stamp, sha256, version });
    }
    Ok(files)
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map(|()| bytes)
}

fn write(path: &Path, known: &HashMap<PathHash, KnownFile>) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let mut temporary = files::temporary_beside(path).map_err(|failure| io::Error::other(failure.message))?;
    let mut file = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    file.write_all(MAGIC)?;
    file.write_all(&(known.len() as u64).to_le_bytes())?;
    for (hash, KnownFile { stamp, sha256, version }) in known {
        // No known server has longer versions.
        let version = version.get(..version.len().min(255)).unwrap_or_default();
        file.write_all(hash)?;
        file.write_all(&stamp.size.to_le_bytes())?;
        file.write_all(&stamp.modified.to_le_bytes())?;
        file.write_all(&stamp.changed.to_le_bytes())?;
        file.write_all(&stamp.inode.to_le_bytes())?;
        file.write_all(sha256)?;
        file.write_all(&[version.len() as u8])?;
        file.write_all(version.as_bytes())?;
    }
    file.flush()?;
    drop(file);
    temporary.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back_and_does_not_know_changed_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/index");
        let file = KnownFile {
            stamp: FileStamp { size: 3, modified: -1, changed: 7, inode: 9 },
            sha256: [5; 32],
            version: "etag-2".into(),
        };
        let mut index = Index { path: Some(path.clone()), files: HashMap::new(), changed: false };
        index.insert(Path::new("x/y"), file.clone());
        index.save();
        let index = Index { path: None, files: read(&path).unwrap(), changed: false };
        assert_eq!(index.get(Path::new("x/y"), &file.stamp), Some(&file));
        assert_eq!(index.get(Path::new("x/y"), &FileStamp { changed: 8, ..file.stamp }), None);
        fs::write(&path, b"ncaas-i1 rubbish").unwrap();
        assert!(read(&path).is_err());
    }
}
