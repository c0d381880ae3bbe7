//! Objects from a bucket.
//!
//! A small one is written and renamed in one go. A large one goes into a part file whose name is made from the object and
//! its version: a process that is killed leaves it, and the next one asks the server for what is missing. A file gets its
//! name when it is whole and is what the checksums say that were stored with the object.

use std::path::Path;

use ncaas_core::bucket::Entry;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::folder::PartialFile;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

use super::content::Content;
use super::part::resume;
use super::sums::{self, Summing};
use super::{Sha, Stamp, Transfer, hex, version, with_folder};
use crate::index::Seen;
use crate::local::blocking;

/// The largest object that is held in memory as a whole, in bytes.
const SMALL: u64 = 1 << 20;
/// How many small files are made at once. A folder takes one new name at a time, and who waits for a turn spins; but where
/// the folder is on a file server, each name takes its time.
static MAKING: Semaphore = Semaphore::const_new(8);

impl Transfer {
    /// Brings an object into a file, over what may be there.
    pub(super) async fn download(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        match self.bucket.as_s3() {
            None => self.copy_out(entry, path).await,
            Some(_) if entry.size <= SMALL => self.small(entry, path).await,
            Some(_) => self.large(entry, path).await,
        }
    }

    /// From a directory.
    async fn copy_out(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let to = path.to_owned();
        let part = with_folder(&self.folder, move |folder| PartialFile::new(folder, &to)).await?;
        let shown = self.folder.path().join(path);
        let into = part.file.try_clone().map_err(|error| Failure::io("write", &shown, &error))?;
        let content = self.bucket.download_into(&entry.key, into, &shown).await?;
        if content.size != entry.size {
            return Err(self.changed(entry));
        }
        let to = path.to_owned();
        let stamp = with_folder(&self.folder, move |folder| part.finish(folder, &to)).await?;
        Ok(Seen::new(Stamp::of(&stamp), sums::unhex(&content.sha256).unwrap_or_default(), version(entry)))
    }

    async fn small(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let (content, stored) = self.range(entry, 0..entry.size).await?;
        let (mismatch, path) = (self.mismatch(entry), path.to_owned());
        // The semaphore is never closed.
        let _turn = MAKING.acquire().await;
        let written = with_folder(&self.folder, move |folder| {
            let digest = content.pieces().fold(Sha256::new(), |digest, piece| digest.chain_update(piece));
            let sha256 = Sha::from(digest.finalize());
            if stored.is_some_and(|stored| stored != hex(&sha256)) {
                return Err(mismatch);
            }
            let mut part = PartialFile::new(folder, &path)?;
            content.write_to(&mut part.file).map_err(|error| folder.failure("write", &path, &error))?;
            part.finish(folder, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = written.await?;
        Ok(Seen::new(Stamp::of(&stamp), sha256, version(entry)))
    }

    async fn large(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let mut summing = Summing::against(self.known(entry).await?);
        let to = path.to_owned();
        let what = format!("{}\n{}\n{}", path.display(), entry.key, version(entry));
        let open = move |folder: &_| {
            let (part, size) = resume(folder, &to, &what, &mut summing)?;
            Ok(Coming { part, summing, size })
        };
        let coming = with_folder(&self.folder, open).await?;
        let coming = self.rest(entry, path, coming).await?;
        let (size, mismatch, path) = (entry.size, self.mismatch(entry), path.to_owned());
        let finished = with_folder(&self.folder, move |folder| match coming.summing.finish() {
            Some(sums) if coming.size == size => {
                coming.part.finish(folder, &path).map(|file| (Stamp::of(&file), sums.sha256))
            }
            _ => {
                coming.part.discard();
                Err(mismatch)
            }
        });
        let (stamp, sha256) = finished.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    /// Brings what is missing of a large object. What came before it fails stays.
    async fn rest(&self, entry: &Entry, path: &Path, coming: Coming) -> Result<Coming> {
        let (sender, receiver) = mpsc::channel(1);
        let shown = self.folder.path().join(path);
        let from = coming.size;
        let writer =
            tokio::spawn(blocking(move || coming.take(receiver).map_err(|error| Failure::io("write", &shown, &error))));
        let came = self.bring(entry, from, &sender).await;
        drop(sender);
        let written = writer.await.map_err(|_| Failure::new(Kind::Interrupted, "interrupted while a file was written"));
        let coming = written??;
        came.map(|()| coming)
    }

    fn mismatch(&self, entry: &Entry) -> Failure {
        let words =
            format!("`{}/{}` is not what was stored: its checksum is another", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("it was damaged on its way or on the server: upload it again")
    }
}

/// A large object, as far as it has come.
struct Coming {
    part: PartialFile,
    summing: Summing,
    size: u64,
}

impl Coming {
    /// Writes content until none comes any more.
    fn take(mut self, mut contents: mpsc::Receiver<Content>) -> std::io::Result<Coming> {
        while let Some(content) = contents.blocking_recv() {
            content.write_with_holes(&mut self.part.file)?;
            content.pieces().for_each(|piece| self.summing.update(piece));
            self.size += content.size();
            // A hole at the end is not there by itself, and whoever goes on begins at the end.
            self.part.file.set_len(self.size)?;
        }
        Ok(self)
    }
}
