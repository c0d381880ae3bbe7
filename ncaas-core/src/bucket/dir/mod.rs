//! A directory that is laid out as a bucket: keys are paths below it.
//!
//! Keys, and whatever links lie in the directory, are not trusted. Every access goes through [`cap_std::fs::Dir`], which
//! resolves paths beneath the directory and refuses `..` and links that lead out of it.
//!
//! Where it differs from S3: a folder exists by itself, and is listed as a key that ends in `/` while it is empty; a key
//! cannot be an object and a folder at once; one name in a key holds at most 255 bytes. Hidden names that begin with
//! `.ncaas-` are ours: a `.ncaas-part-*` that a killed process left behind is no object and can be deleted, and
//! `.ncaas-bucket/lock` orders conditional writes.

mod list;
mod part;
mod write;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::failure::{Failure, IoContext, Kind, Result};

pub(super) use list::Walk;

use super::key::{Key, quoted};
use super::object::{Content, Entry, Summing, Version};
use super::source::CHUNK;
use super::{Wanted, address};

/// A directory bucket. Its operations block; [`super::Bucket`] moves them off the runtime's thread.
#[derive(Debug, Clone)]
pub(super) struct DirBucket {
    root: Arc<Path>,
    pub(super) address: Arc<str>,
    pub(super) name: Arc<str>,
}

impl DirBucket {
    pub(super) fn open(path: &Path) -> Result<DirBucket> {
        let root = fs::canonicalize(path).map_err(|error| Self::no_bucket(path, &error))?;
        let (address, name) = address::of_directory(&root)?;
        let bucket = DirBucket { root: root.into(), address: address.into(), name: name.into() };
        bucket.root()?;
        Ok(bucket)
    }

    pub(super) fn create(path: &Path) -> Result<DirBucket> {
        fs::create_dir_all(path).doing("create the bucket", path)?;
        Self::open(path)
    }

    /// The directory, opened anew for each operation: one that is moved away or mounted again is noticed.
    fn root(&self) -> Result<Dir> {
        Dir::open_ambient_dir(&self.root, ambient_authority()).map_err(|error| Self::no_bucket(&self.root, &error))
    }

    fn no_bucket(path: &Path, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Kind::BucketNotFound,
                format!("no bucket `{}`: there is no such directory", path.display()),
            ),
            io::ErrorKind::NotADirectory => {
                Failure::new(Kind::BucketNotFound, format!("no bucket `{}`: it is not a directory", path.display()))
            }
            _ => Failure::io("open the bucket", path, error),
        }
    }

    pub(super) fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let Some(metadata) = self.metadata(&self.root()?, key)? else { return Ok(None) };
        match (key.is_folder(), metadata.is_dir()) {
            (true, true) => Ok(Some(entry(key.clone(), 0, &metadata))),
            (false, false) if metadata.is_file() => Ok(Some(entry(key.clone(), metadata.len(), &metadata))),
            (false, false) => Err(self.not_regular(key)),
            _ => Ok(None),
        }
    }

    pub(super) fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        let (file, metadata) = self.open_object(&self.root()?, key)?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or_default());
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| self.failure("read", key, &error))?;
        if bytes.len() as u64 > limit {
            return Err(super::too_large(key, limit));
        }
        let version = Version::of(&bytes);
        Ok((bytes, version))
    }

    /// Copies an object's content into an open file.
    pub(super) fn fetch(&self, key: &Key, into: &fs::File, path: &Path, wanted: &Wanted) -> Result<Content> {
        let (mut file, metadata) = self.open_object(&self.root()?, key)?;
        let mut summing = Summing::default();
        let mut buffer = vec![0; CHUNK];
        let mut into = into;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failure("read", key, &error)),
            };
            wanted.check()?;
            summing.update(&buffer[..read]);
            into.write_all(&buffer[..read]).doing("write", path)?;
        }
        if summing.size() != metadata.len() {
            return Err(super::cut_short(key, metadata.len(), summing.size()));
        }
        Ok(summing.finish())
    }

    fn open_object(&self, root: &Dir, key: &Key) -> Result<(File, Metadata)> {
        self.try_open_object(root, key)?.ok_or_else(|| super::no_object(&self.address, key))
    }

    /// The open file of an object, if there is one.
    fn try_open_object(&self, root: &Dir, key: &Key) -> Result<Option<(File, Metadata)>> {
        // Without O_NONBLOCK, to open a FIFO is to wait for somebody who writes to it.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = match root.open_with(key.as_str(), &options) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.failure("read", key, &error)),
        };
        let metadata = file.metadata().map_err(|error| self.failure("read", key, &error))?;
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Ok(Some((file, metadata))),
            (_, true) => Ok(None),
            _ => Err(self.not_regular(key)),
        }
    }

    fn metadata(&self, root: &Dir, key: &Key) -> Result<Option<Metadata>> {
        match root.metadata(key.as_str()) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failure("read", key, &error)),
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn not_regular(&self, key: &Key) -> Failure {
        Failure::new(
            Kind::UnsafePath,
            format!("{} is neither a file nor a folder", quoted(&self.path(key).to_string_lossy())),
        )
    }

    /// A failed operation on the file of a key.
    fn failure(&self, what: &str, key: &Key, error: &io::Error) -> Failure {
        let path = self.path(key);
        let shown = quoted(&path.to_string_lossy());
        if is_escape(error) {
            return Failure::new(Kind::UnsafePath, format!("cannot {what} {shown}: a link leads out of the bucket"))
                .hint("put a copy into the bucket instead of a link");
        }
        match error.kind() {
            io::ErrorKind::InvalidFilename => Failure::new(
                Kind::BadKey,
                format!("cannot {what} {shown}: a name in it is too long for this file system"),
            ),
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Failure::new(
                Kind::BadKey,
                format!("cannot {what} {shown}: in a directory, one name cannot be an object and a folder at once"),
            ),
            _ => Failure::io(what, &path, error),
        }
    }
}

fn entry(key: Key, size: u64, metadata: &Metadata) -> Entry {
    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time.into_std()).ok());
    Entry { key, size, modified: modified.unwrap_or_default(), etag: None, sha256: None, crc64nvme: None }
}

/// Nothing is there, or a file is where the key has a folder.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// `cap_std` refused a path that leads out of the directory. It has no error of its own for this, but unlike the
/// operating system's refusals it carries no error number.
fn is_escape(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}
