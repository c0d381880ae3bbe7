//! Objects from a bucket.
//!
//! A small one is written and renamed in one go. A large one goes into a part file whose name is made from the object and
//! its version, range by range, several at a time: a process that is killed leaves it, and the next one asks the server for
//! what is missing. A file gets its name when it is whole and its SHA-256 is what was stored with the object.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ncaas_core::bucket::Entry;
use ncaas_core::failure::{Failure, Kind, Result};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::memory::memory;
use super::part::Part;
use super::{Sha, Transfer, hex, sums, version, with_folder};
use crate::index::Seen;
use crate::local::blocking;

/// The largest object that is held in memory as a whole, in bytes.
const SMALL: u64 = 1 << 20;
/// How often an object is asked for without that anything more of it comes, and how long to wait before the second time.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How much of a larger one is asked for at once, in bytes, and how often at a time. A server, or the way to it, that is
/// slow for one connection is less so for several; what is asked for is held in memory until what is before it has come.
const RANGE: u64 = 4 << 20;
const RANGES_IN_FLIGHT: usize = 8;
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
        let stamp = with_folder(&self.folder, move |folder| part.finish(folder, &to)).await?;
        Ok(Seen::new(stamp, sums::unhex(&content.sha256).unwrap_or_default(), version(entry)))
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
            part.finish(folder, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = written.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    async fn large(&self, entry: &Entry, path: &Path) -> Result<Seen> {
        let to = path.to_owned();
        let what = format!("{}\n{}\n{}", path.display(), entry.key, version(entry));
        let open = move |folder: &_| {
            Part::resume(folder, &to, &what).map(|(part, digest, size)| Coming { part, digest, size })
        };
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
            coming.part.finish(folder, &path).map(|stamp| (stamp, sha256))
        });
        let (stamp, sha256) = finished.await?;
        Ok(Seen::new(stamp, sha256, version(entry)))
    }

    /// Brings what is missing of a large object, and the SHA-256 that was stored with it, if anything is. What came before
    /// it fails stays.
    async fn rest(&self, entry: &Entry, path: &Path, coming: Coming) -> Result<(Coming, Option<String>)> {
        let starts = (coming.size..entry.size).step_by(RANGE as usize);
        let ranges = starts.map(|from| self.range(entry, from..entry.size.min(from + RANGE)));
        let mut ranges = pin!(stream::iter(ranges).buffered(RANGES_IN_FLIGHT));
        let (sender, receiver) = mpsc::channel(1);
        let shown = self.folder.path().join(path);
        let writer =
            tokio::spawn(blocking(move || coming.take(receiver).map_err(|error| Failure::io("write", &shown, &error))));
        let mut came = Ok(None);
        while let Some(range) = ranges.next().await {
            match range {
                Ok((content, stored)) => {
                    came = Ok(stored);
                    if sender.send(content).await.is_err() {
                        // The writer says why it has ended.
                        break;
                    }
                }
                Err(failure) => {
                    came = Err(failure);
                    break;
                }
            }
        }
        drop(sender);
        let written = writer.await.map_err(|_| Failure::new(Kind::Interrupted, "interrupted while a file was written"));
        let coming = written??;
        came.map(|stored| (coming, stored))
    }

    /// Some of an object's content, and the SHA-256 that was stored with all of it, in hex.
    async fn range(&self, entry: &Entry, range: Range<u64>) -> Result<(Content, Option<String>)> {
        let length = range.end - range.start;
        let mut content = Content { pieces: Vec::new(), size: 0, _memory: memory(length).await };
        let mut tries = 1;
        loop {
            let before = content.size;
            match self.fill(entry, &range, &mut content).await {
                Ok(stored) => return Ok((content, stored)),
                // The client tries a request again, but not what breaks off after its answer has begun.
                Err(failure) if failure.kind == Kind::BucketUnreachable => {
                    tries = if content.size > before { 1 } else { tries + 1 };
                    if tries > TRIES {
                        return Err(failure);
                    }
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Asks once for what is missing of a range.
    async fn fill(&self, entry: &Entry, range: &Range<u64>, content: &mut Content) -> Result<Option<String>> {
        let answer = self.ask(entry, range.start + content.size..range.end).await?;
        let mut body = answer.body;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| self.broke_off(entry, range.start + content.size, &error))?;
            content.size += piece.len() as u64;
            content.pieces.push(piece);
            if range.start + content.size > range.end {
                return Err(self.changed(entry));
            }
        }
        let came = range.start + content.size;
        if came == range.end { Ok(answer.sha256) } else { Err(self.cut_short(entry, came)) }
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
            content.write_to(&mut self.part.file)?;
            self.digest = content.added_to(self.digest);
            self.size += content.size;
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
    fn write_to(&self, file: &mut File) -> std::io::Result<()> {
        self.pieces.iter().try_for_each(|piece| file.write_all(piece))
    }

    fn added_to(&self, digest: Sha256) -> Sha256 {
        self.pieces.iter().fold(digest, |digest, piece| digest.chain_update(piece))
    }
}
