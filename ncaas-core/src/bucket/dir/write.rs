//! Writes to a directory bucket: complete or not at all, also conditional.
//!
//! A conditional write compares and replaces under an exclusive lock; unconditional writes of the tools share the lock.
//! Each of a few locks serves a part of the keys: a process that is stopped while it holds one does not stop the whole
//! bucket. Other programs (`cp`, an editor) do not know it: what they write between the comparison and the replacement,
//! which are microseconds apart, is lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use cap_std::fs::{Dir, OpenOptions, Permissions};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::bucket::key::Key;
use crate::bucket::object::Version;
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::folder::PartialFile;

use super::directory::{DirBucket, is_missing};

/// The folder of the lock files, which are named `0` to `f`. Listings do not show it, as every name that begins with
/// `.ncaas-`.
const LOCKS: &str = ".ncaas-bucket/locks";

/// How a writer holds the lock of a key. Closing the file releases it.
enum Lock {
    Shared,
    Exclusive,
}

impl DirBucket {
    pub(in crate::bucket) fn put(&self, key: &Key, bytes: &[u8]) -> Result<()> {
        let root = self.root()?;
        if key.is_folder() {
            return self.create_folder(&root, key);
        }
        self.write(&root, key, bytes, Lock::Shared, PartialFile::rename)
    }

    pub(in crate::bucket) fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<Option<Version>> {
        let root = self.root()?;
        if key.is_folder() {
            let exists = self.metadata(&root, key)?.is_some();
            return self.create_folder(&root, key).map(|()| (!exists).then(|| Version::from_content(bytes)));
        }
        let created = self.write(&root, key, bytes, Lock::Shared, PartialFile::rename_if_free)?;
        if !created && self.metadata(&root, key)?.is_some_and(|metadata| metadata.is_dir()) {
            return Err(self.failure("write", key, &io::ErrorKind::IsADirectory.into()));
        }
        Ok(created.then(|| Version::from_content(bytes)))
    }

    pub(in crate::bucket) fn put_if(&self, key: &Key, bytes: &[u8], version: &Version) -> Result<Option<Version>> {
        let root = self.root()?;
        let unchanged = || {
            let read = self.read(key, u64::MAX).none_if(&[Kind::ObjectNotFound])?;
            Ok::<_, Failure>(read.is_some_and(|(_, now)| now == *version))
        };
        // Checked first without the lock, so that a writer that is too late creates neither folders nor a file.
        if !unchanged()? {
            return Ok(None);
        }
        let mut verdict = Ok(true);
        self.write(&root, key, bytes, Lock::Exclusive, |part| {
            verdict = unchanged();
            if matches!(verdict, Ok(true)) { part.rename() } else { Ok(()) }
        })?;
        Ok(verdict?.then(|| Version::from_content(bytes)))
    }

    pub(in crate::bucket) fn delete(&self, key: &Key) -> Result<()> {
        let root = self.root()?;
        let _lock = self.lock(&root, key, Lock::Shared)?;
        let Some((folder, path)) = self.locate(&root, key)? else { return Ok(()) };
        let removed = match path.strip_suffix('/') {
            Some(empty) => folder.remove_dir(empty),
            None if key.is_folder() => root.remove_dir(key.group()),
            None => folder.remove_file(path),
        };
        match removed {
            // As on S3, a folder with content is not an object, and there is nothing to delete.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty || is_missing(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(()),
            done => done.map_err(|error| self.failure("delete", key, &error)),
        }
    }

    /// Writes an object whose content `fill` writes into an open file. It turns an error of that file into a failure
    /// with its second argument.
    pub(crate) fn put_with<T>(
        &self,
        key: &Key,
        fill: impl FnOnce(&mut File, &dyn Fn(&io::Error) -> Failure) -> Result<T>,
    ) -> Result<T> {
        key.must_name_an_object()?;
        let root = self.root()?;
        let failed = |error: &io::Error| self.failure("write", key, error);
        let (folder, name) = self.open_parent(&root, key)?;
        let mut part = PartialFile::in_folder(folder, name).map_err(|error| failed(&error))?;
        let filled = fill(&mut part.file, &failed)?;
        let _lock = self.lock(&root, key, Lock::Shared)?;
        part.rename().map_err(|error| failed(&error))?;
        Ok(filled)
    }

    /// Writes a partial file with this content and, while it holds the lock, calls `rename`.
    fn write<T>(
        &self,
        root: &Dir,
        key: &Key,
        bytes: &[u8],
        lock: Lock,
        rename: impl FnOnce(&mut PartialFile) -> io::Result<T>,
    ) -> Result<T> {
        let failed = |error: io::Error| self.failure("write", key, &error);
        let (folder, name) = self.open_parent(root, key)?;
        let mut part = PartialFile::in_folder(folder, name).map_err(failed)?;
        part.file.write_all(bytes).map_err(failed)?;
        let _lock = self.lock(root, key, lock)?;
        rename(&mut part).map_err(failed)
    }

    /// Opens the folder of a key's file, or creates it, and returns it with the file's name.
    fn open_parent<'k>(&self, root: &Dir, key: &'k Key) -> Result<(Dir, &'k str)> {
        let (folder, path) = self.locate_or_create(root, key)?;
        match path.rsplit_once('/') {
            Some((path, name)) => Ok((self.open_or_create_folder(&folder, path, key)?, name)),
            None => Ok((folder, path)),
        }
    }

    fn create_folder(&self, root: &Dir, key: &Key) -> Result<()> {
        let (folder, path) = self.locate_or_create(root, key)?;
        self.open_or_create_folder(&folder, path.trim_end_matches('/'), key).map(drop)
    }

    fn open_or_create_folder(&self, folder: &Dir, path: &str, key: &Key) -> Result<Dir> {
        // Opened first: it mostly exists, and an error of opening says more than one of creating.
        let opened = match folder.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.create_dir_all(path).and_then(|()| folder.open_dir(path))
            }
            opened => opened,
        };
        opened.map_err(|error| self.failure("create the folder of", key, &error))
    }

    /// Waits for the lock of a key.
    fn lock(&self, root: &Dir, key: &Key, lock: Lock) -> Result<fs::File> {
        let number = Sha256::digest(key.as_str())[0] % 16;
        let name = format!("{LOCKS}/{number:x}");
        let failed = |error: &io::Error| Failure::io("lock the bucket with", &self.root.join(&name), error);
        let open = || match root.open_with(&name, OpenOptions::new().read(true).write(true)) {
            // NFS asks for the right to write, other file systems do not.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => root.open(&name),
            opened => opened,
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_locks(root).and_then(|()| open()),
            opened => opened,
        };
        let file = file.map_err(|error| failed(&error))?.into_std();
        let operation = match lock {
            Lock::Shared => FlockOperation::LockShared,
            Lock::Exclusive => FlockOperation::LockExclusive,
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)).map_err(|error| failed(&error.into()))?;
        Ok(file)
    }
}

/// Creates all lock files in one step, and for all users: not all of them may create files there.
fn create_locks(root: &Dir) -> io::Result<()> {
    let new = format!("{LOCKS}-{:x}", fastrand::u64(..));
    root.create_dir_all(&new)?;
    let created = (0..16).try_for_each(|number| {
        let file = root.create(format!("{new}/{number:x}"))?;
        file.set_permissions(Permissions::from_std(fs::Permissions::from_mode(0o666)))
    });
    match created.and_then(|()| root.rename(&new, root, LOCKS)) {
        Err(error) => {
            root.remove_dir_all(&new)?;
            // Another process was faster.
            if root.exists(LOCKS) { Ok(()) } else { Err(error) }
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_writer_that_stops_while_it_holds_a_lock_does_not_block_writes_of_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = DirBucket::open(folder.path()).unwrap();
        let (held, other) = (Key::new("lab/a").unwrap(), Key::new("lab/b").unwrap());
        let version = bucket.put_new(&other, b"1").unwrap().unwrap();
        let _stopped = bucket.lock(&bucket.root().unwrap(), &held, Lock::Shared).unwrap();
        let (sender, written) = mpsc::channel();
        std::thread::spawn(move || sender.send(bucket.put_if(&other, b"2", &version).unwrap().is_some()));
        assert_eq!(written.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
