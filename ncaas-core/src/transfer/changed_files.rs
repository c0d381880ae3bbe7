//! Transfers of files whose content has changed, between a local folder and a bucket.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::checksums::Sha256Sum;
use super::index::Index;
use crate::blocking::{lock, run_blocking};
use crate::bucket::{Bucket, Key, ObjectInfo};
use crate::failure::Result;
use crate::file_stamp::FileStamp;
use crate::folder::Folder;

/// The result of one file's transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    /// Whether anything was transferred.
    pub outcome: TransferOutcome,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content, in hex.
    pub sha256: Option<String>,
}

/// The state of the destination before a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferOutcome {
    /// It had the same content: nothing was transferred.
    Unchanged,
    /// It did not exist.
    New,
    /// It had other content.
    Changed,
}

/// A local folder and a bucket between which files are transferred. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub(super) bucket: Bucket,
    pub(super) folder: Arc<Folder>,
    pub(super) index: Arc<Mutex<Index>>,
    /// Whether files are read even if the index knows them.
    pub(super) reread: bool,
    /// Whether other processes may append to files while they are read. Then the size at their opening is uploaded.
    pub(super) may_grow: bool,
}

impl Transfer {
    /// A transfer with the index of this folder and this prefix of the bucket. With `reread`, files are read even if
    /// the index knows them.
    pub fn new(bucket: Bucket, folder: Folder, prefix: &str, reread: bool) -> Transfer {
        let index = Index::open(folder.path(), &format!("{}/{prefix}", bucket.address()));
        Transfer { bucket, folder: Arc::new(folder), index: Arc::new(Mutex::new(index)), reread, may_grow: false }
    }

    /// A transfer that remembers nothing for the next run.
    pub fn without_index(bucket: Bucket, folder: Folder) -> Transfer {
        Transfer { bucket, folder: Arc::new(folder), index: Arc::default(), reread: false, may_grow: false }
    }

    /// The same transfer for files to which other processes may be appending, and whose beginning is useful: logs.
    pub fn for_growing_files(&self) -> Transfer {
        Transfer { may_grow: true, ..self.clone() }
    }

    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The local folder.
    pub fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Writes the index for the next run.
    pub fn save_index(&self) {
        self.index().save();
    }

    /// Uploads a file unless the object has the same content. `existing` is the object under the key, if there is one;
    /// `stamp` is the file's, if it is known; `expected` is the SHA-256 that the file must have.
    ///
    /// # Errors
    /// [`Kind::ChecksumMismatch`](crate::failure::Kind::ChecksumMismatch), and nothing is stored, if the file changes
    /// meanwhile or its SHA-256 is not `expected`; or the file or the bucket fails.
    pub async fn upload_if_changed(
        &self,
        path: &Path,
        key: &Key,
        existing: Option<&ObjectInfo>,
        stamp: Option<&FileStamp>,
        expected: Option<Sha256Sum>,
    ) -> Result<Transferred> {
        if let Some(existing) = existing
            && let Some(unchanged) = self.find_unchanged(path, existing, stamp).await?
        {
            return Ok(unchanged);
        }
        let sent = self.upload(path, key, expected, stamp.map(|stamp| stamp.size)).await?;
        let outcome = if existing.is_some() { TransferOutcome::Changed } else { TransferOutcome::New };
        let transferred = Transferred { outcome, size: sent.stamp.size, sha256: Some(hex::encode(sent.sha256)) };
        self.index().insert(path, sent);
        Ok(transferred)
    }

    /// Creates an empty folder. Returns false if the bucket cannot hold one: some servers that store objects as files
    /// drop it, others create a file with that name, which would block later keys below it.
    ///
    /// # Errors
    /// When the bucket fails.
    pub async fn create_empty_folder(&self, key: &Key) -> Result<bool> {
        // An object of this name may have content.
        if self.bucket.head(key).await?.is_none() {
            self.bucket.put(key, Vec::new()).await?;
        }
        if self.bucket.exists_under(key.as_str()).await? {
            return Ok(true);
        }
        self.bucket.delete(key).await?;
        Ok(false)
    }

    /// Downloads an object into a file, which gets its name when it is complete, unless the file has the same content.
    /// `stamp` is the file's, if it is known.
    ///
    /// # Errors
    /// [`Kind::ChecksumMismatch`](crate::failure::Kind::ChecksumMismatch) if the content does not match the stored
    /// checksum; or the file or the bucket fails.
    pub async fn download_if_changed(
        &self,
        entry: &ObjectInfo,
        path: &Path,
        stamp: Option<&FileStamp>,
    ) -> Result<Transferred> {
        if let Some(unchanged) = self.find_unchanged(path, entry, stamp).await? {
            return Ok(unchanged);
        }
        let outcome = if self.folder.has(path) { TransferOutcome::Changed } else { TransferOutcome::New };
        self.download_as(entry, path, outcome).await
    }

    /// Downloads an object into a file that does not exist.
    ///
    /// # Errors
    /// Same as [`Transfer::download_if_changed`].
    pub async fn download_new(&self, entry: &ObjectInfo, path: &Path) -> Result<Transferred> {
        self.download_as(entry, path, TransferOutcome::New).await
    }

    async fn download_as(&self, entry: &ObjectInfo, path: &Path, outcome: TransferOutcome) -> Result<Transferred> {
        let received = self.download(entry, path).await?;
        let sha256 = Some(hex::encode(received.sha256));
        let transferred = Transferred { outcome, size: received.stamp.size, sha256 };
        self.index().insert(path, received);
        Ok(transferred)
    }

    /// The version of an object that was just written.
    pub(super) async fn object_version(&self, key: &Key) -> Result<Box<str>> {
        Ok(self.bucket.head(key).await?.map(|entry| version(&entry)).unwrap_or_default().into())
    }
}

/// Tells one content of an object from another: its ETag; for a file in a directory its size and time.
pub(super) fn version(entry: &ObjectInfo) -> String {
    match &entry.etag {
        Some(etag) => etag.clone(),
        None => format!("{}.{}", entry.size, entry.modified.as_nanosecond()),
    }
}

/// Runs blocking work with the folder on another thread.
pub(super) async fn with_folder<T: Send + 'static>(
    folder: &Arc<Folder>,
    work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
) -> Result<T> {
    let folder = Arc::clone(folder);
    run_blocking(move || work(&folder)).await
}
