//! Objects from a bucket.
//!
//! A small one is written and renamed in one go. A large one goes into a part file whose name is made from the object and
//! its version: a process that is killed leaves it, and the next one asks the server for what is missing. As long as no
//! other large one comes beside it, it is asked for range by range, several at a time: a server, or the way to it, that is
//! slow for one connection is less so for several. Else it is asked for at once: some servers read all of an object for
//! each range of it. A file gets its name when it is whole and its SHA-256 is what was stored with the object.

use std::fs::File;
use std::io::{Seek, Write};
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ncaas_core::bucket::Entry;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::folder::Part;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::memory::memory;
use super::part::resume;
use super::{Sha, Stamp, Transfer, hex, sums, version, with_folder};
use crate::index::Seen;
use crate::local::{blocking, is_hole};

/// The largest object that is held in memory as a whole, in bytes.
const SMALL: u64 = 1 << 20;
/// How often an object is asked for without that anything more of it comes, and how long to wait before the second time.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How much of a larger one that comes alone is asked for at once, in bytes, and how often at a time. It is held in memory
/// until what is before it has come.
const RANGE: u64 = 16 << 20;
const RANGES_IN_FLIGHT: usize = 3;
/// How much is written at once of one that is asked for as a whole, in bytes.
const BATCH: u64 = 1 << 20;
/// How many large ones are coming.
static LARGE: AtomicUsize = AtomicUsize::new(0);
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
        let part = with_folder(&self.folder, move |folder| Part::new(folder, &to)).await?;
        let shown = self.folder.path().join(path);
        let into = part.file.try_clone().map_err(|error| Failure::io("write", &shown, &error))?;
        let content = self.bucket.download_into(&entry.key, into, &shown).await?;
        if content.size != entry.size {
            return Err(self.changed(entry));
        }
        let to = path.to_owned();
        let file = with_folder(&self.folder, move |folder| part.finish(folder, &to)).await?;
        Ok(Seen::new(Stamp::of(&file), sums::unhex(&content.sha256).unwrap_or_default(), version(entry)))
    }

    async fn small(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let (content, stored) = self.range(entry, 0..entry.size).await?;
        let (mismatch, path) = (self.mismatch(entry), path.to_owned());
        // The semaphore is never closed.
        let _turn = MAKING.acquire().await;
        let written = with_folder(&self.folder, move |folder| {
            let sha256 = Sha::from(content.added_to(Sha256::new()).finalize());
            if stored.is_some_and(|stored| stored != hex(&sha256)) {
                return Err(mismatch);
            }
            let mut part = Part::new(folder, &path)?;
            content.write_to(&mut part.file).map_err(|error| folder.failure("write", &path, &error))?;
            part.finish(folder, &path).map(|file| (Stamp::of(&file), sha256))
        });
        let (stamp, sha256) = written.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    async fn large(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let to = path.to_owned();
        let what = format!("{}\n{}\n{}", path.display(), entry.key, version(entry));
        let open =
            move |folder: &_| resume(folder, &to, &what).map(|(part, digest, size)| Coming { part, digest, size });
        let coming = with_folder(&self.folder, open).await?;
        let (coming, stored) = self.rest(entry, path, coming).await?;
        let stored = match stored {
            Some(stored) => Some(stored),
            None => self.bucket.head(&entry.key).await?.and_then(|entry| entry.sha256),
        };
        let (size, mismatch, path) = (entry.size, self.mismatch(entry), path.to_owned());
        let finished = with_folder(&self.folder, move |folder| {
            let sha256 = Sha::from(coming.digest.finalize());
            if coming.size != size || stored.is_some_and(|stored| stored != hex(&sha256)) {
                coming.part.discard();
                return Err(mismatch);
            }
            coming.part.finish(folder, &path).map(|file| (Stamp::of(&file), sha256))
        });
        let (stamp, sha256) = finished.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    /// Brings what is missing of a large object, and the SHA-256 that was stored with it, if anything is. What came before
    /// it fails stays.
    async fn rest(&self, entry: &Entry, path: &Path, coming: Coming) -> Result<(Coming, Option<String>)> {
        let (sender, receiver) = mpsc::channel(1);
        let shown = self.folder.path().join(path);
        let from = coming.size;
        let writer =
            tokio::spawn(blocking(move || coming.take(receiver).map_err(|error| Failure::io("write", &shown, &error))));
        LARGE.fetch_add(1, Ordering::Relaxed);
        let came = self.bring(entry, from, &sender).await;
        LARGE.fetch_sub(1, Ordering::Relaxed);
        drop(sender);
        let written = writer.await.map_err(|_| Failure::new(Kind::Interrupted, "interrupted while a file was written"));
        let coming = written??;
        came.map(|stored| (coming, stored))
    }

    /// Brings an object from a byte on: as long as no other large one comes, by ranges, and the rest of it at once. The
    /// SHA-256 that was stored with it, in hex.
    async fn bring(&self, entry: &Entry, mut from: u64, to: &mpsc::Sender<Content>) -> Result<Option<String>> {
        let starts = (from..entry.size).step_by(RANGE as usize);
        let starts = starts.take_while(|_| LARGE.load(Ordering::Relaxed) == 1);
        let ranges = starts.map(|from| self.range(entry, from..entry.size.min(from + RANGE)));
        let mut ranges = pin!(stream::iter(ranges).buffered(RANGES_IN_FLIGHT));
        let mut came = None;
        while let Some(range) = ranges.next().await {
            let (content, stored) = range?;
            came = stored;
            from += content.size;
            if to.send(content).await.is_err() {
                // The writer says why it has ended.
                return Ok(came);
            }
        }
        if from == entry.size { Ok(came) } else { self.at_once(entry, from, to).await }
    }

    /// Brings an object from a byte on, in one piece.
    async fn at_once(&self, entry: &Entry, from: u64, to: &mpsc::Sender<Content>) -> Result<Option<String>> {
        let mut batch = Content::with_room_for(BATCH).await;
        let take = async |piece| {
            batch.push(piece);
            if batch.size < BATCH {
                return true;
            }
            let full = std::mem::replace(&mut batch, Content::with_room_for(BATCH).await);
            to.send(full).await.is_ok()
        };
        let came = self.all_of(entry, from..entry.size, take).await;
        // The writer says why it has ended; what came before it failed stays.
        let _ = to.send(batch).await;
        came
    }

    /// Some of an object's content, and the SHA-256 that was stored with all of it, in hex.
    async fn range(&self, entry: &Entry, range: Range<u64>) -> Result<(Content, Option<String>)> {
        let mut content = Content::with_room_for(range.end - range.start).await;
        let take = async |piece| {
            content.push(piece);
            true
        };
        let stored = self.all_of(entry, range, take).await?;
        Ok((content, stored))
    }

    /// Hands over a range of an object piece by piece, however often that is broken off, until no more is taken. The
    /// SHA-256 that was stored with the object.
    async fn all_of(
        &self,
        entry: &Entry,
        mut range: Range<u64>,
        mut take: impl AsyncFnMut(Bytes) -> bool,
    ) -> Result<Option<String>> {
        let mut tries = 1;
        loop {
            let before = range.start;
            match self.fill(entry, &mut range, &mut take).await {
                Ok(stored) => return Ok(stored),
                // The client tries a request again, but not what breaks off after its answer has begun.
                Err(failure) if failure.kind == Kind::BucketUnreachable => {
                    tries = if range.start > before { 1 } else { tries + 1 };
                    if tries > TRIES {
                        return Err(failure);
                    }
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Asks once for what is missing of a range, which begins where that begins.
    async fn fill(
        &self,
        entry: &Entry,
        missing: &mut Range<u64>,
        take: &mut impl AsyncFnMut(Bytes) -> bool,
    ) -> Result<Option<String>> {
        let answer = self.ask(entry, missing.clone()).await?;
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| self.broke_off(entry, missing.start, &error))?;
            if piece.len() as u64 > missing.end - missing.start {
                return Err(self.changed(entry));
            }
            missing.start += piece.len() as u64;
            if !take(piece).await {
                return Ok(answer.sha256);
            }
        }
        if missing.is_empty() { Ok(answer.sha256) } else { Err(self.cut_short(entry, missing.start)) }
    }

    /// Asks for a range of an object, as it was when it was listed.
    async fn ask(&self, entry: &Entry, range: Range<u64>) -> Result<Answer> {
        let Some((client, bucket)) = self.bucket.as_s3() else {
            return Err(Failure::new(Kind::BucketError, "a directory answers no requests"));
        };
        let is_part = range != (0..entry.size);
        let request = client.get_object().bucket(bucket).key(entry.key.as_str());
        let bytes = is_part.then(|| format!("bytes={}-{}", range.start, range.end - 1));
        let same = entry.etag.as_ref().filter(|_| is_part).map(|etag| format!("\"{etag}\""));
        let answer = request.set_range(bytes).set_if_match(same).send().await;
        let answer = answer.map_err(|error| match error.raw_response().map(|response| response.status().as_u16()) {
            Some(412) => self.changed(entry),
            _ => self.bucket.s3_failure("read", Some(&entry.key), &error),
        })?;
        let begins = format!("bytes {}-", range.start);
        if is_part && !answer.content_range().is_some_and(|range| range.starts_with(&begins)) {
            let words =
                format!("cannot read a part of `{}/{}`: the server sends all of it", self.bucket.address(), entry.key);
            return Err(Failure::new(Kind::BucketError, words));
        }
        let sha256 = answer.metadata().and_then(|metadata| metadata.get("sha256")).cloned();
        Ok(Answer { body: answer.body, sha256 })
    }

    fn broke_off(&self, entry: &Entry, came: u64, error: &(dyn std::error::Error + 'static)) -> Failure {
        let cause = std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string);
        let mut failure = self.cut_short(entry, came);
        failure.message = format!("{}: {}", failure.message, cause.unwrap_or_default());
        failure
    }

    fn cut_short(&self, entry: &Entry, came: u64) -> Failure {
        let (bucket, key, size) = (self.bucket.address(), &entry.key, entry.size);
        let words = format!("cannot read `{bucket}/{key}`: the server broke off after {came} of {size} bytes");
        Failure::new(Kind::BucketUnreachable, words).hint("run the same command again: it goes on where it stopped")
    }

    fn changed(&self, entry: &Entry) -> Failure {
        let words = format!("`{}/{}` changed while it was read", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("run it again")
    }

    fn mismatch(&self, entry: &Entry) -> Failure {
        let words = format!("`{}/{}` is not what was stored: its SHA-256 is another", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("it was damaged on its way or on the server: upload it again")
    }
}

struct Answer {
    body: ByteStream,
    /// What was stored with the object, in hex.
    sha256: Option<String>,
}

/// A large object, as far as it has come.
struct Coming {
    part: Part,
    digest: Sha256,
    size: u64,
}

impl Coming {
    /// Writes content until none comes any more.
    fn take(mut self, mut contents: mpsc::Receiver<Content>) -> std::io::Result<Coming> {
        while let Some(content) = contents.blocking_recv() {
            content.write_with_holes(&mut self.part.file)?;
            self.digest = content.added_to(self.digest);
            self.size += content.size;
            // A hole at the end is not there by itself, and whoever goes on begins at the end.
            self.part.file.set_len(self.size)?;
        }
        Ok(self)
    }
}

/// What has come of a range, in the pieces in which it came.
struct Content {
    pieces: Vec<Bytes>,
    size: u64,
    _memory: SemaphorePermit<'static>,
}

impl Content {
    /// None yet, with the memory for so many bytes.
    async fn with_room_for(bytes: u64) -> Content {
        Content { pieces: Vec::new(), size: 0, _memory: memory(bytes).await }
    }

    fn push(&mut self, piece: Bytes) {
        self.size += piece.len() as u64;
        self.pieces.push(piece);
    }

    fn write_to(&self, file: &mut File) -> std::io::Result<()> {
        self.pieces.iter().try_for_each(|piece| file.write_all(piece))
    }

    /// Zeros become holes: in a bucket a sparse file holds them all.
    fn write_with_holes(&self, file: &mut File) -> std::io::Result<()> {
        self.pieces.iter().try_for_each(|piece| {
            if is_hole(piece) { file.seek_relative(piece.len() as i64) } else { file.write_all(piece) }
        })
    }

    fn added_to(&self, digest: Sha256) -> Sha256 {
        self.pieces.iter().fold(digest, |digest, piece| digest.chain_update(piece))
    }
}
