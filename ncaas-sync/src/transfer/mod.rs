//! One file from this machine to a bucket, or the other way, unless the same content is there already.
//!
//! The same means the same content. What a file's content is follows from its checksum, which an [`Index`] remembers for
//! as long as the file's size, times and inode stay; what an object's content is, from the SHA-256 and CRC-64/NVME that
//! were stored with it or from its ETag.

mod content;
mod download;
mod memory;
mod part;
mod ranges;
mod resume;
mod same;
mod stamp;
mod sums;
mod upload;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::failure::{IoContext, Result};

use crate::index::{Index, Seen};
use crate::local::blocking;
pub(crate) use ncaas_core::folder::Folder;
pub(crate) use resume::unfinished;
pub(crate) use stamp::Stamp;
pub(crate) use sums::{Sha, hex, sha256, unhex};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) size: u64,
    /// In hex.
    pub(crate) sha256: Option<String>,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same content was there.
    Unchanged,
    /// It was not there.
    New,
    /// It was there with other content.
    Changed,
}

/// A folder on this machine and a bucket, between which files go.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    pub(crate) bucket: Bucket,
    pub(crate) folder: Arc<Folder>,
    index: Arc<Mutex<Index>>,
    /// Whether files are read even if the index knows them.
    reread: bool,
    /// Whether files may grow while they are read: then what they had when they were opened is what is sent.
    grows: bool,
}

impl Transfer {
    /// `place` is where in the bucket the folder's counterpart lies: it tells one index from another.
    pub(crate) fn new(bucket: Bucket, folder: Folder, place: &str, reread: bool) -> Transfer {
        let index = Index::open(folder.path(), &format!("{}/{place}", bucket.address()));
        Transfer { bucket, folder: Arc::new(folder), index: Arc::new(Mutex::new(index)), reread, grows: false }
    }

    /// One that remembers nothing from one run to the next.
    pub(crate) fn unindexed(bucket: Bucket, folder: Folder) -> Transfer {
        Transfer { bucket, folder: Arc::new(folder), index: Arc::default(), reread: false, grows: false }
    }

    /// The same for files that somebody may be writing to, and of which a beginning is worth having: logs.
    pub(crate) fn of_growing(&self) -> Transfer {
        Transfer { grows: true, ..self.clone() }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic elsewhere leaves a map that is still one.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what has been learnt, for the next run.
    pub(crate) fn save(&self) {
        self.index().save();
    }

    /// Uploads a file unless the same is under the key. `there` is what is known to be there; `stamp` is the file's, where
    /// it is known; `known` its SHA-256, where somebody has said what it has to be.
    pub(crate) async fn put(
        &self,
        path: &Path,
        key: &Key,
        there: Option<&Entry>,
        stamp: Option<&Stamp>,
        known: Option<Sha>,
    ) -> Result<Done> {
        if let Some(there) = there
            && let Some(done) = self.same(path, there, stamp).await?
        {
            return Ok(done);
        }
        let sent = self.upload(path, key, known, stamp.map(|stamp| stamp.size)).await?;
        let done = Done {
            outcome: if there.is_some() { Outcome::Changed } else { Outcome::New },
            size: sent.stamp.size,
            sha256: Some(hex(&sent.sha256)),
        };
        self.index().insert(path, sent);
        Ok(done)
    }

    /// Makes an empty folder: whether it is there now. Of the servers that keep the objects as files, some forget it, and
    /// some make a file of that name, which would be in the way of what comes into the folder.
    pub(crate) async fn put_folder(&self, key: &Key) -> Result<bool> {
        self.bucket.put(key, Vec::new()).await?;
        if self.bucket.exists_under(key.as_str()).await? {
            return Ok(true);
        }
        self.bucket.delete(key).await?;
        Ok(false)
    }

    /// Downloads an object into a file, which gets its name when it is whole, unless the same is there. `stamp` is the
    /// file's, where it is known.
    pub(crate) async fn get(&self, entry: &Entry, path: &Path, stamp: Option<&Stamp>) -> Result<Done> {
        if let Some(done) = self.same(path, entry, stamp).await? {
            return Ok(done);
        }
        let outcome = if self.folder.has(path) { Outcome::Changed } else { Outcome::New };
        self.fetch(entry, path, outcome).await
    }

    /// The same where no file is known to be.
    pub(crate) async fn get_new(&self, entry: &Entry, path: &Path) -> Result<Done> {
        self.fetch(entry, path, Outcome::New).await
    }

    async fn fetch(&self, entry: &Entry, path: &Path, outcome: Outcome) -> Result<Done> {
        let got = self.download(entry, path).await?;
        let done = Done { outcome, size: got.stamp.size, sha256: Some(hex(&got.sha256)) };
        self.index().insert(path, got);
        Ok(done)
    }

    /// What a directory's file is known by: S3 has ETags for it.
    async fn version_after(&self, key: &Key) -> Result<Box<str>> {
        Ok(self.bucket.head(key).await?.map(|entry| version(&entry)).unwrap_or_default().into())
    }
}

/// The SHA-256 of an open file, in hex. `path` is for messages only.
pub(crate) async fn sum(file: File, path: PathBuf) -> Result<String> {
    blocking(move || sums::sha256(&file).doing("read", &path).map(|sum| hex(&sum))).await
}

/// What tells one content of an object from another: its ETag; for a file in a directory its size and time.
pub(crate) fn version(entry: &Entry) -> String {
    match &entry.etag {
        Some(etag) => etag.clone(),
        None => format!("{}.{}", entry.size, entry.modified.as_nanosecond()),
    }
}

impl Seen {
    /// What a transfer has learnt.
    pub(crate) fn new(stamp: Stamp, sha256: Sha, version: impl Into<Box<str>>) -> Seen {
        Seen { stamp, sha256, version: version.into() }
    }
}

/// Runs what reads or writes files on a thread of its own, with the folder.
async fn with_folder<T: Send + 'static>(
    folder: &Arc<Folder>,
    work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
) -> Result<T> {
    let folder = Arc::clone(folder);
    blocking(move || work(&folder)).await
}
