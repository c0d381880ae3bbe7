//! A directory bucket: its folders and files, opened by handles that nothing can leave.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::blocking::run_blocking;
use crate::bucket::address::directory_address;
use crate::bucket::failure::{no_object, too_large};
use crate::bucket::key::{Key, quoted};
use crate::bucket::object::{ObjectInfo, Version};
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::folder::open_real_folder;

/// A directory bucket. Its operations block; [`crate::bucket::Bucket`] moves them off the runtime's thread.
#[derive(Debug, Clone)]
pub(crate) struct DirBucket {
    pub(super) root: Arc<Path>,
    pub(in crate::bucket) address: Arc<str>,
    pub(in crate::bucket) name: Arc<str>,
}

impl DirBucket {
    pub(in crate::bucket) fn open(path: &Path) -> Result<DirBucket> {
        let root = fs::canonicalize(path).map_err(|error| Self::open_failure(path, &error))?;
        let (address, name) = directory_address(&root)?;
        let bucket = DirBucket { root: root.into(), address: address.into(), name: name.into() };
        bucket.root()?;
        Ok(bucket)
    }

    pub(in crate::bucket) fn create(path: &Path) -> Result<DirBucket> {
        fs::create_dir_all(path).doing("create the bucket", path)?;
        Self::open(path)
    }

    /// Does blocking work on a key, off the runtime's thread.
    pub(in crate::bucket) async fn run<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&DirBucket, &Key) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (dir, key) = (self.clone(), key.clone());
        run_blocking(move || work(&dir, &key)).await
    }

    /// Opens the directory for one operation, so that a directory that was moved or mounted again is noticed.
    pub(super) fn root(&self) -> Result<Dir> {
        Dir::open_ambient_dir(&self.root, ambient_authority()).map_err(|error| Self::open_failure(&self.root, &error))
    }

    fn open_failure(path: &Path, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::new(Kind::BucketNotFound, format!("bucket `{}` does not exist", path.display()))
            }
            io::ErrorKind::NotADirectory => {
                Failure::new(Kind::BucketNotFound, format!("bucket `{}` is not a directory", path.display()))
            }
            _ => Failure::io("open the bucket", path, error),
        }
    }

    /// Opens the folder that no link on a key's path can leave, and returns it with the path in it. It is the group's
    /// folder, or the bucket's for an object at its root. None if the group does not exist.
    pub(super) fn locate<'k>(&self, root: &Dir, key: &'k Key) -> Result<Option<(Dir, &'k str)>> {
        let located = match key.as_str().split_once('/') {
            Some((group, "")) => open_real_folder(root, group).map(|folder| (folder, ".")),
            Some((group, path)) => open_real_folder(root, group).map(|folder| (folder, path)),
            None => root.try_clone().map(|root| (root, key.as_str())),
        };
        match located {
            Ok(located) => Ok(Some(located)),
            Err(_) if root.symlink_metadata(key.group()).is_ok_and(|group| group.is_symlink()) => {
                let shown = quoted(&self.root.join(key.group()).to_string_lossy());
                Err(Failure::new(Kind::UnsafePath, format!("{shown} is a link: a group is a folder of the bucket")))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failure("open the group of", key, &error)),
        }
    }

    /// Same as [`Self::locate`], and creates the group's folder if it does not exist.
    pub(super) fn locate_or_create<'k>(&self, root: &Dir, key: &'k Key) -> Result<(Dir, &'k str)> {
        if let Some(located) = self.locate(root, key)? {
            return Ok(located);
        }
        let failed = |error: &io::Error| self.failure("create the folder of", key, error);
        match root.create_dir(key.group()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error)),
            _ => {}
        }
        self.locate(root, key)?.ok_or_else(|| failed(&io::ErrorKind::NotADirectory.into()))
    }

    pub(in crate::bucket) fn head(&self, key: &Key) -> Result<Option<ObjectInfo>> {
        let Some(metadata) = self.metadata(&self.root()?, key)? else { return Ok(None) };
        match (key.is_folder(), metadata.is_dir()) {
            (true, true) => Ok(Some(entry(key.clone(), 0, &metadata))),
            (false, false) if metadata.is_file() => Ok(Some(entry(key.clone(), metadata.len(), &metadata))),
            (false, false) => Err(self.not_regular(key)),
            _ => Ok(None),
        }
    }

    pub(in crate::bucket) fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        let (file, metadata) = self.open_object(&self.root()?, key)?;
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or_default());
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| self.failure("read", key, &error))?;
        if bytes.len() as u64 > limit {
            return Err(too_large(key, limit));
        }
        let version = Version::from_content(&bytes);
        Ok((bytes, version))
    }

    pub(crate) fn open_file(&self, key: &Key) -> Result<fs::File> {
        key.must_name_an_object()?;
        Ok(self.open_object(&self.root()?, key)?.0.into_std())
    }

    pub(super) fn open_object(&self, root: &Dir, key: &Key) -> Result<(File, Metadata)> {
        self.try_open_object(root, key)?.ok_or_else(|| no_object(&self.address, key))
    }

    pub(super) fn try_open_object(&self, root: &Dir, key: &Key) -> Result<Option<(File, Metadata)>> {
        // Without O_NONBLOCK, opening a FIFO waits for a writer.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let Some((folder, path)) = self.locate(root, key)? else { return Ok(None) };
        let file = match folder.open_with(path, &options) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return self.check_not_broken_link(&folder, path, key).map(|()| None),
            Err(error) => return Err(self.failure("read", key, &error)),
        };
        let metadata = file.metadata().map_err(|error| self.failure("read", key, &error))?;
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Ok(Some((file, metadata))),
            (_, true) => Ok(None),
            _ => Err(self.not_regular(key)),
        }
    }

    pub(super) fn metadata(&self, root: &Dir, key: &Key) -> Result<Option<Metadata>> {
        let Some((folder, path)) = self.locate(root, key)? else { return Ok(None) };
        match folder.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_missing(&error) => self.check_not_broken_link(&folder, path, key).map(|()| None),
            Err(error) => Err(self.failure("read", key, &error)),
        }
    }

    /// Checks that no link is where an object was not found: the object cannot be created there either.
    pub(super) fn check_not_broken_link(&self, folder: &Dir, path: &str, key: &Key) -> Result<()> {
        if folder.symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            let shown = quoted(&self.path(key).to_string_lossy());
            let message = format!("cannot read {shown}: it is a broken link");
            return Err(Failure::new(Kind::UnsafePath, message).hint("remove the link"));
        }
        Ok(())
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) fn not_regular(&self, key: &Key) -> Failure {
        Failure::new(
            Kind::UnsafePath,
            format!("{} is neither a file nor a folder", quoted(&self.path(key).to_string_lossy())),
        )
    }

    /// A failed operation on the file of a key.
    pub(crate) fn failure(&self, verb: &str, key: &Key, error: &io::Error) -> Failure {
        let path = self.path(key);
        let shown = quoted(&path.to_string_lossy());
        if is_escape(error) {
            let left = if key.as_str().contains('/') {
                format!("the group {}", quoted(key.group()))
            } else {
                "the bucket".to_owned()
            };
            return Failure::new(Kind::UnsafePath, format!("cannot {verb} {shown}: a link leads out of {left}"))
                .hint("put a copy there instead of a link");
        }
        match error.kind() {
            io::ErrorKind::InvalidFilename => Failure::new(
                Kind::BadKey,
                format!("cannot {verb} {shown}: a name in it is too long for this file system"),
            ),
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Failure::new(
                Kind::BadKey,
                format!("cannot {verb} {shown}: in a directory, one name cannot be an object and a folder at once"),
            ),
            _ => Failure::io(verb, &path, error),
        }
    }
}

pub(super) fn entry(key: Key, size: u64, metadata: &Metadata) -> ObjectInfo {
    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time.into_std()).ok());
    ObjectInfo {
        key,
        size,
        modified: modified.unwrap_or_default(),
        etag: None,
        sha256: None,
        crc64nvme: None,
        origin_modified: modified,
    }
}

/// Whether nothing is at a path, or a file is where the key has a folder.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether `cap_std` refused a path that leads out of the directory. Unlike an error of the operating system, its error
/// has no number.
pub(super) fn is_escape(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}
