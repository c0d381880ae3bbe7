//! Writing into a directory bucket: whole or not at all, and on condition.
//!
//! A conditional write compares and replaces under a lock that every writer of ours takes, those that write without a
//! condition share it. Programs that are not ours (`cp`, an editor) do not know the lock: a write of theirs between the
//! comparison and the replacement, which are microseconds apart, is lost.

use std::fs;
use std::io::{self, Write};

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::FlockOperation;

use crate::bucket::Wanted;
use crate::bucket::key::Key;
use crate::bucket::object::{Content, Version};
use crate::bucket::source::Source;
use crate::failure::{Failure, Kind, Result};

use super::DirBucket;
use super::part::Part;

/// Hidden from listings, as every name that begins with `.ncaas-`.
const OWN_FOLDER: &str = ".ncaas-bucket";

/// How a writer holds the bucket's lock. It is let go of when the file is closed.
enum Hold {
    Shared,
    Alone,
}

impl DirBucket {
    pub(in crate::bucket) fn put(&self, key: &Key, bytes: &[u8]) -> Result<()> {
        let root = self.root()?;
        if key.is_folder() {
            return self.make_folder(&root, key);
        }
        self.write(&root, key, Hold::Shared, |part| part.file.write_all(bytes), |part, name| part.replace(name))
    }

    pub(in crate::bucket) fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<Option<Version>> {
        let root = self.root()?;
        if key.is_folder() {
            let there = self.metadata(&root, key)?.is_some();
            return self.make_folder(&root, key).map(|()| (!there).then(|| Version::of(bytes)));
        }
        let created = self.write(
            &root,
            key,
            Hold::Shared,
            |part| part.file.write_all(bytes),
            |part, name| part.name_if_free(name),
        )?;
        if !created && self.metadata(&root, key)?.is_some_and(|metadata| metadata.is_dir()) {
            return Err(self.failure("write", key, &io::ErrorKind::IsADirectory.into()));
        }
        Ok(created.then(|| Version::of(bytes)))
    }

    pub(in crate::bucket) fn put_if(&self, key: &Key, bytes: &[u8], version: &Version) -> Result<Option<Version>> {
        let root = self.root()?;
        let unchanged = || match self.read(key, u64::MAX) {
            Ok((_, now)) => Ok(now == *version),
            Err(failure) if failure.kind == Kind::ObjectNotFound => Ok(false),
            Err(failure) => Err(failure),
        };
        // Looked at once without the lock: who comes too late makes neither folders nor a file.
        if !unchanged()? {
            return Ok(None);
        }
        let mut verdict = Ok(true);
        self.write(
            &root,
            key,
            Hold::Alone,
            |part| part.file.write_all(bytes),
            |part, name| {
                verdict = unchanged();
                if matches!(verdict, Ok(true)) { part.replace(name) } else { Ok(()) }
            },
        )?;
        Ok(verdict?.then(|| Version::of(bytes)))
    }

    pub(in crate::bucket) fn delete(&self, key: &Key) -> Result<()> {
        let root = self.root()?;
        let _held = self.lock(&root, Hold::Shared)?;
        let removed = match key.as_str().strip_suffix('/') {
            Some(folder) => root.remove_dir(folder),
            None => root.remove_file(key.as_str()),
        };
        match removed {
            // A folder with something in it does not stand for itself: as on S3, nothing is there to delete.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty || super::is_missing(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(()),
            done => done.map_err(|error| self.failure("delete", key, &error)),
        }
    }

    /// Stores a file of this machine under a key.
    pub(in crate::bucket) fn store(&self, mut source: Source, key: &Key, wanted: &Wanted) -> Result<Content> {
        let root = self.root()?;
        let (folder, name) = self.folder_of(&root, key)?;
        let mut part = Part::create(&folder).map_err(|error| self.failure("write", key, &error))?;
        let content = source.read_through(|piece| {
            wanted.check()?;
            part.file.write_all(piece).map_err(|error| self.failure("write", key, &error))
        })?;
        let _held = self.lock(&root, Hold::Shared)?;
        part.replace(name).map_err(|error| self.failure("write", key, &error))?;
        Ok(content)
    }

    /// Writes a hidden file beside the key's and, holding the lock, gives it its name.
    fn write<T>(
        &self,
        root: &Dir,
        key: &Key,
        hold: Hold,
        fill: impl FnOnce(&mut Part<'_>) -> io::Result<()>,
        name_it: impl FnOnce(Part<'_>, &str) -> io::Result<T>,
    ) -> Result<T> {
        let (folder, name) = self.folder_of(root, key)?;
        let mut part = Part::create(&folder).map_err(|error| self.failure("write", key, &error))?;
        fill(&mut part).map_err(|error| self.failure("write", key, &error))?;
        let _held = self.lock(root, hold)?;
        name_it(part, name).map_err(|error| self.failure("write", key, &error))
    }

    /// The folder that a key's file lies in, made if need be, and the file's name in it.
    fn folder_of<'k>(&self, root: &Dir, key: &'k Key) -> Result<(Dir, &'k str)> {
        match key.as_str().rsplit_once('/') {
            Some((path, name)) => Ok((self.made_folder(root, path, key)?, name)),
            None => {
                let folder = root.try_clone().map_err(|error| self.failure("write", key, &error))?;
                Ok((folder, key.as_str()))
            }
        }
    }

    fn make_folder(&self, root: &Dir, key: &Key) -> Result<()> {
        self.made_folder(root, key.as_str().trim_end_matches('/'), key).map(drop)
    }

    fn made_folder(&self, root: &Dir, path: &str, key: &Key) -> Result<Dir> {
        // Opened before it is made: mostly it is there, and opening says why it is none, making it only that it is there.
        let opened = match root.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                root.create_dir_all(path).and_then(|()| root.open_dir(path))
            }
            opened => opened,
        };
        opened.map_err(|error| self.failure("make the folder of", key, &error))
    }

    /// Waits for the lock. It is taken on a file that is only read, so that a bucket can be shared between users.
    fn lock(&self, root: &Dir, hold: Hold) -> Result<fs::File> {
        let name = format!("{OWN_FOLDER}/lock");
        let failed = |error: &io::Error| Failure::io("lock the bucket with", &self.root.join(&name), error);
        let file = match root.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                root.create_dir_all(OWN_FOLDER).map_err(|error| failed(&error))?;
                root.open_with(&name, OpenOptions::new().append(true).create(true))
            }
            opened => opened,
        };
        let file = file.map_err(|error| failed(&error))?.into_std();
        let operation = match hold {
            Hold::Shared => FlockOperation::LockShared,
            Hold::Alone => FlockOperation::LockExclusive,
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)).map_err(|error| failed(&error.into()))?;
        Ok(file)
    }
}
