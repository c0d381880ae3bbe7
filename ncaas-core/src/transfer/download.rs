//! Downloads of objects.
//!
//! A small object is written and renamed in one step. A large one goes into a partial file whose name is made from the
//! object and its version: a killed process leaves it behind, and the next one requests only the missing rest. A file
//! gets its name when it is complete and matches the checksums that were stored with the object.
//!
//! A file gets the modification time of the uploaded file, if that was stored, else the object's. So tools that compare
//! sizes and times (`aws s3 sync`, rclone, s5cmd) find nothing to transfer.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

use super::changed_files::{Transfer, version, with_folder};
use super::checksums::{ChecksumStream, Sha256Sum, read_pieces};
use super::index::KnownFile;
use super::object_reader::ObjectReader;
use super::pieces::Pieces;
use super::stored_metadata::stored_metadata;
use crate::blocking::{run_blocking, run_cancellable};
use crate::bucket::{Bucket, DirBucket, ObjectInfo};
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::file_stamp::FileStamp;
use crate::files::{MIN_FREE, check_free_space, check_plausible_size, write_or_skip};
use crate::folder::{Folder, PartialFile};
use crate::layout::short_hash;

/// The largest object that is held in memory as a whole, in bytes.
const SMALL: u64 = 1 << 20;
/// How many small files are created at once. A folder takes one new name at a time, and waiting threads spin; but a
/// folder on a file server takes its time for each name.
static CREATING: Semaphore = Semaphore::const_new(8);

impl Transfer {
    /// Downloads an object into a file, in place of the existing one.
    pub(super) async fn download(&self, entry: &ObjectInfo, path: &Path) -> Result<KnownFile> {
        match self.bucket.as_directory() {
            Some(directory) => self.copy_from_directory(directory, entry, path).await,
            None if entry.size <= SMALL => self.download_small(entry, path).await,
            None => self.download_large(entry, path).await,
        }
    }

    fn reader<'o>(&'o self, entry: &'o ObjectInfo) -> ObjectReader<'o> {
        ObjectReader { bucket: &self.bucket, entry }
    }

    async fn copy_from_directory(&self, directory: &DirBucket, entry: &ObjectInfo, path: &Path) -> Result<KnownFile> {
        let (to, folder) = (path.to_owned(), self.folder.clone());
        let partial = with_folder(&self.folder, move |folder| PartialFile::new(folder, &to)).await?;
        let into = partial.file.try_clone().map_err(|error| folder.failure("write", path, &error))?;
        let (size, sha256) = copy_object(directory, entry, Some((into, folder.path().join(path)))).await?;
        if size != entry.size {
            return Err(self.reader(entry).changed());
        }
        let to = path.to_owned();
        let modified = entry.modified;
        let stamp = with_folder(&self.folder, move |folder| {
            set_modified(folder, &to, &partial, modified)?;
            partial.finish(folder, &to)
        });
        Ok(KnownFile::new(FileStamp::from_metadata(&stamp.await?), sha256, version(entry)))
    }

    async fn download_small(&self, entry: &ObjectInfo, path: &Path) -> Result<KnownFile> {
        let (content, answer) = self.reader(entry).read_whole().await?;
        let (mismatch, path) = (self.reader(entry).mismatch(), path.to_owned());
        let modified = answer.origin_modified.unwrap_or(entry.modified);
        // The semaphore is never closed.
        let _turn = CREATING.acquire().await;
        let written = with_folder(&self.folder, move |folder| {
            let digest = content.iter().fold(Sha256::new(), |digest, piece| digest.chain_update(piece));
            let sha256 = Sha256Sum::from(digest.finalize());
            if answer.sha256.is_some_and(|stored| stored != hex::encode(sha256)) {
                return Err(mismatch);
            }
            let mut partial = PartialFile::new(folder, &path)?;
            content.write_to(&mut partial.file).map_err(|error| folder.failure("write", &path, &error))?;
            set_modified(folder, &path, &partial, modified)?;
            partial.finish(folder, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = written.await?;
        Ok(KnownFile::new(FileStamp::from_metadata(&stamp), sha256, version(entry)))
    }

    async fn download_large(&self, entry: &ObjectInfo, path: &Path) -> Result<KnownFile> {
        let (expected, origin_modified) = stored_metadata(&self.bucket, entry).await?;
        let mut checksums = ChecksumStream::expecting(expected);
        let to = path.to_owned();
        let identity = format!("{}\n{}\n{}", path.display(), entry.key, version(entry));
        let open = move |folder: &_| {
            let (partial, size) = open_partial_file(folder, &to, &identity, &mut checksums)?;
            Ok(PartialDownload { partial, checksums, size })
        };
        let download = with_folder(&self.folder, open).await?;
        check_room(self.folder.path(), path, entry.size.saturating_sub(download.size))?;
        let download = self.download_rest(entry, path, download).await?;
        let (size, mismatch, path) = (entry.size, self.reader(entry).mismatch(), path.to_owned());
        let modified = origin_modified.unwrap_or(entry.modified);
        let finished = with_folder(&self.folder, move |folder| match download.checksums.finish() {
            Some(sums) if download.size == size => {
                set_modified(folder, &path, &download.partial, modified)?;
                download.partial.finish(folder, &path).map(|file| (FileStamp::from_metadata(&file), sums.sha256))
            }
            _ => {
                download.partial.discard();
                Err(mismatch)
            }
        });
        let (stamp, sha256) = finished.await?;
        Ok(KnownFile::new(stamp, sha256, version(entry)))
    }

    /// Downloads the missing rest of a large object. The partial file keeps everything that arrives before a failure.
    async fn download_rest(
        &self,
        entry: &ObjectInfo,
        path: &Path,
        download: PartialDownload,
    ) -> Result<PartialDownload> {
        let (sender, receiver) = mpsc::channel(1);
        let shown = self.folder.path().join(path);
        let from = download.size;
        let writer = tokio::spawn(run_blocking(move || {
            download.write_all(receiver).map_err(|error| Failure::io("write", &shown, &error))
        }));
        let read = self.reader(entry).read_from(from, &sender).await;
        drop(sender);
        let written = writer.await.map_err(|_| Failure::new(Kind::Interrupted, "interrupted while a file was written"));
        let download = written??;
        read.map(|()| download)
    }
}

/// Checks that a disk has free space for `missing` more bytes of an object, before it is filled in vain.
fn check_room(folder: &Path, path: &Path, missing: u64) -> Result<()> {
    if missing <= SMALL {
        return Ok(());
    }
    check_free_space(folder, missing.saturating_add(MIN_FREE), &format!("`{}`", path.display()))
}

/// Sets a file's modification time. A time that the file system cannot hold is left out.
fn set_modified(folder: &Folder, path: &Path, partial: &PartialFile, modified: Timestamp) -> Result<()> {
    let Ok(modified) = SystemTime::try_from(modified) else { return Ok(()) };
    match partial.file.set_modified(modified) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(folder.failure("write", path, &error)),
        _ => Ok(()),
    }
}

/// A large object of which a part has arrived.
struct PartialDownload {
    partial: PartialFile,
    checksums: ChecksumStream,
    size: u64,
}

impl PartialDownload {
    /// Writes content until the sender is gone.
    fn write_all(mut self, mut contents: mpsc::Receiver<Pieces>) -> io::Result<PartialDownload> {
        while let Some(content) = contents.blocking_recv() {
            content.write_with_holes(&mut self.partial.file)?;
            content.iter().for_each(|piece| self.checksums.update(piece));
            self.size += content.size();
            // A hole at the end does not extend the file, and a later process resumes at the end of the file.
            self.partial.file.set_len(self.size)?;
        }
        Ok(self)
    }
}

/// Opens the partial file of a path and an object, made by any process. Its content goes to `checksums`; its size is
/// returned, and it is positioned at its end.
fn open_partial_file(
    folder: &Folder,
    path: &Path,
    identity: &str,
    checksums: &mut impl Write,
) -> Result<(PartialFile, u64)> {
    let name = format!("{}{}", short_hash(identity), short_hash(&format!("{identity}\n")));
    let failed = |error: &io::Error| folder.failure("write", path, error);
    loop {
        let mut partial = PartialFile::named(folder, path, &name)?;
        partial.file.lock().map_err(|error| failed(&error))?;
        // The process that held the lock may have finished the file or replaced it.
        if !partial.has_its_name() {
            continue;
        }
        let size = io::copy(&mut partial.file, checksums).map_err(|error| failed(&error))?;
        return Ok((partial, size));
    }
}

/// The SHA-256 of an object's content, in hex, computed by reading all of it.
///
/// # Errors
/// If it cannot be read.
pub async fn object_sha256(bucket: &Bucket, entry: &ObjectInfo) -> Result<String> {
    read_object(bucket, entry, None).await.map(hex::encode)
}

/// Copies an object's content into an open file. `path` is for messages only.
///
/// # Errors
/// If the object cannot be read, the file cannot be written, or the content does not match its stored SHA-256.
pub async fn download_into(bucket: &Bucket, entry: &ObjectInfo, file: File, path: &Path) -> Result<()> {
    read_object(bucket, entry, Some((file, path.to_owned()))).await.map(drop)
}

async fn read_object(bucket: &Bucket, entry: &ObjectInfo, mut into: Option<(File, PathBuf)>) -> Result<Sha256Sum> {
    let reader = ObjectReader { bucket, entry };
    if let Some(directory) = bucket.as_directory() {
        let (size, sha256) = copy_object(directory, entry, into).await?;
        return if size == entry.size { Ok(sha256) } else { Err(reader.changed()) };
    }
    let mut digest = Sha256::new();
    let mut failed = None;
    let take = async |piece: Bytes| {
        digest.update(&piece);
        let written = into.as_mut().map_or(Ok(()), |(file, path)| file.write_all(&piece).doing("write", path));
        failed = written.err();
        failed.is_none()
    };
    let answer = reader.read_pieces(0..entry.size, take).await?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let sha256 = Sha256Sum::from(digest.finalize());
    if answer.sha256.is_some_and(|stored| stored != hex::encode(sha256)) {
        return Err(reader.mismatch());
    }
    Ok(sha256)
}

/// Reads an object of a directory and writes it to a file, if one is given. Returns its size and SHA-256.
async fn copy_object(
    directory: &DirBucket,
    entry: &ObjectInfo,
    into: Option<(File, PathBuf)>,
) -> Result<(u64, Sha256Sum)> {
    let (directory, key, size) = (directory.clone(), entry.key.clone(), entry.size);
    run_cancellable(move |cancel| {
        let file = directory.open_file(&key)?;
        if let Some((_, path)) = into.as_ref().filter(|_| size > SMALL) {
            // Before the free space is checked, which a sparse file of any size would not have.
            check_plausible_size(&file).map_err(|error| directory.failure("read", &key, &error))?;
            check_room(path.parent().unwrap_or(path), path, size)?;
        }
        let mut digest = Sha256::new();
        let (mut failed, mut ends_in_hole) = (None, false);
        let size = read_pieces(&file, u64::MAX, |piece| {
            digest.update(piece);
            let written = cancel.check().and_then(|()| match &into {
                Some((file, path)) => write_or_skip(file, piece).doing("write", path),
                None => Ok(false),
            });
            written.map(|skipped| ends_in_hole = skipped).map_err(|failure| {
                failed = Some(failure);
                io::Error::other("stopped")
            })
        });
        match (size, failed) {
            (_, Some(failure)) => Err(failure),
            (Err(error), None) => Err(directory.failure("read", &key, &error)),
            (Ok(size), None) => {
                if let Some((file, path)) = into.as_ref().filter(|_| ends_in_hole) {
                    file.set_len(size).doing("write", path)?;
                }
                Ok((size, digest.finalize().into()))
            }
        }
    })
    .await
}
