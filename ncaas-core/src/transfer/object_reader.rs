//! Requests for an object's content.
//!
//! A large object is requested in ranges: several connections are faster than one if the server or the network is slow
//! for each connection, and some servers send a whole object at twice the cost of its ranges. But some servers read a
//! whole object before they send any of it: a server that takes longer to answer than to send is asked for the entire
//! rest.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::pieces::Pieces;
use crate::bucket::{Bucket, ObjectInfo, Retries, parse_modified};
use crate::failure::{Failure, Kind, Result, innermost_cause};

/// How much of a large object is requested at once while no other one is downloaded, in bytes, and how many such
/// requests are in flight. A range is held in memory until the ranges before it have arrived.
const RANGE: u64 = 8 << 20;
const RANGES_IN_FLIGHT: usize = 4;
/// The same beside other large objects: their connections use the bandwidth, and each request has its cost.
const RANGE_BESIDE_OTHERS: u64 = 64 << 20;
/// An answer that takes longer than this, and longer than its body, is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How much of a range that arrives piece by piece is passed on at once, in bytes.
const BATCH: u64 = 1 << 20;

/// Reads one object of a bucket on S3, as it was when it was listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectReader<'o> {
    pub(super) bucket: &'o Bucket,
    pub(super) entry: &'o ObjectInfo,
}

/// The metadata in an answer.
pub(super) struct Answer {
    /// The SHA-256 that was stored with the whole object, in hex.
    pub(super) sha256: Option<String>,
    /// When the content was modified at its origin, if that was stored with the object.
    pub(super) origin_modified: Option<Timestamp>,
    /// How long the server took to answer.
    waited: Duration,
}

impl ObjectReader<'_> {
    /// Sends the content of a large object from an offset on to `to`.
    pub(super) async fn read_from(&self, mut from: u64, to: &mpsc::Sender<Pieces>) -> Result<()> {
        let _counted = LargeDownload::begin();
        let mut is_slow_to_answer = false;
        while from < self.entry.size {
            let length = if is_slow_to_answer {
                self.entry.size
            } else if LargeDownload::is_alone() {
                RANGE
            } else {
                RANGE_BESIDE_OTHERS
            };
            let range = from..self.entry.size.min(from + length);
            let asked = Instant::now();
            let Some(answer) = self.read_in_batches(range.clone(), to).await? else { return Ok(()) };
            from = range.end;
            is_slow_to_answer = answer.waited > SLOW.max(asked.elapsed() / 2);
            if !is_slow_to_answer && LargeDownload::is_alone() {
                let Some(next) = self.read_ranges(from, to).await? else { return Ok(()) };
                from = next;
            }
        }
        Ok(())
    }

    /// Reads from an offset on with several ranges in flight, until another large download begins. Returns the offset
    /// that it reached; `None` if the receiver is gone.
    async fn read_ranges(&self, mut from: u64, to: &mpsc::Sender<Pieces>) -> Result<Option<u64>> {
        let size = self.entry.size;
        let starts = (from..size).step_by(RANGE as usize).take_while(|_| LargeDownload::is_alone());
        let ranges = starts.map(|from| self.read_range(from..size.min(from + RANGE)));
        let mut ranges = pin!(stream::iter(ranges).buffered(RANGES_IN_FLIGHT));
        while let Some(range) = ranges.next().await {
            let (pieces, _) = range?;
            from += pieces.size();
            if to.send(pieces).await.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(from))
    }

    /// Reads a range and passes it on while it arrives. `None` if the receiver is gone, which reports the reason.
    async fn read_in_batches(&self, range: Range<u64>, to: &mpsc::Sender<Pieces>) -> Result<Option<Answer>> {
        let mut batch = Pieces::with_capacity(BATCH).await;
        let take = async |piece| {
            batch.push(piece);
            if batch.size() < BATCH {
                return true;
            }
            // This batch is sent before the next one reserves memory. If many objects waited for memory while they held
            // some, none would make progress.
            let is_taken = to.send(std::mem::take(&mut batch)).await.is_ok();
            batch = Pieces::with_capacity(BATCH).await;
            is_taken
        };
        let answer = self.read_pieces(range, take).await;
        // Also the pieces that arrived before a failure.
        let is_taken = to.send(batch).await.is_ok();
        answer.map(|answer| is_taken.then_some(answer))
    }

    /// Reads a small object into memory. After a lost connection it is read from its beginning: a server that is not
    /// atomic may have sent the beginning of another version.
    pub(super) async fn read_whole(&self) -> Result<(Pieces, Answer)> {
        let mut retries = Retries::default();
        loop {
            let mut pieces = Pieces::with_capacity(self.entry.size).await;
            let mut take = async |piece| {
                pieces.push(piece);
                true
            };
            match self.request_rest(&mut (0..self.entry.size), &mut take).await {
                Ok(answer) => return Ok((pieces, answer)),
                Err(failure) => {
                    // Others may wait for the memory.
                    drop(pieces);
                    retries.wait_after(failure).await?;
                }
            }
        }
    }

    /// Reads a range into memory.
    pub(super) async fn read_range(&self, range: Range<u64>) -> Result<(Pieces, Answer)> {
        let mut pieces = Pieces::with_capacity(range.end - range.start).await;
        let take = async |piece| {
            pieces.push(piece);
            true
        };
        let answer = self.read_pieces(range, take).await?;
        Ok((pieces, answer))
    }

    /// Hands over a range piece by piece until `take` returns false. After a lost connection, the rest is requested
    /// again.
    pub(super) async fn read_pieces(
        &self,
        mut range: Range<u64>,
        mut take: impl AsyncFnMut(Bytes) -> bool,
    ) -> Result<Answer> {
        // The client retries a request, but not a response whose connection is lost.
        let mut retries = Retries::default();
        loop {
            let before = range.start;
            match self.request_rest(&mut range, &mut take).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    if range.start > before {
                        retries.reset();
                    }
                    retries.wait_after(failure).await?;
                }
            }
        }
    }

    /// Makes one request for the missing part of a range, and moves the range's start on as pieces arrive.
    async fn request_rest(
        &self,
        missing: &mut Range<u64>,
        take: &mut impl AsyncFnMut(Bytes) -> bool,
    ) -> Result<Answer> {
        let (mut body, answer) = self.request(missing.clone()).await?;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| {
                // After the last byte, only the checksum can fail.
                if missing.is_empty() { self.changed() } else { self.connection_lost(missing.start, &error) }
            })?;
            if piece.len() as u64 > missing.end - missing.start {
                return Err(self.changed());
            }
            missing.start += piece.len() as u64;
            if !take(piece).await {
                return Ok(answer);
            }
        }
        if missing.is_empty() { Ok(answer) } else { Err(self.cut_short(missing.start)) }
    }

    async fn request(&self, range: Range<u64>) -> Result<(ByteStream, Answer)> {
        let Some((client, bucket)) = self.bucket.as_s3() else {
            return Err(Failure::new(Kind::BucketError, "a directory does not answer requests"));
        };
        let is_part = range != (0..self.entry.size);
        let request = client.get_object().bucket(bucket).key(self.entry.key.as_str());
        let bytes = is_part.then(|| format!("bytes={}-{}", range.start, range.end - 1));
        // Even for a whole object: if a shorter one replaced it for a moment, the rest of this one would be appended to
        // it.
        let same = self.entry.etag.as_ref().map(|etag| format!("\"{etag}\""));
        let asked = Instant::now();
        // The client then compares a whole object with the checksum that S3 has stored.
        let checked = (!is_part).then_some(ChecksumMode::Enabled);
        let answer = request.set_range(bytes).set_if_match(same).set_checksum_mode(checked).send().await;
        let answer = answer.map_err(|error| match error.raw_response().map(|response| response.status().as_u16()) {
            Some(412) => self.changed(),
            _ => self.bucket.s3_failure("read", Some(&self.entry.key), &error),
        })?;
        let begins = format!("bytes {}-", range.start);
        if is_part && !answer.content_range().is_some_and(|range| range.starts_with(&begins)) {
            let message =
                format!("cannot read a part of {}: the server sends the whole object", self.describe_object());
            return Err(Failure::new(Kind::BucketError, message));
        }
        let sha256 = answer.metadata().and_then(|metadata| metadata.get("sha256")).cloned();
        let origin_modified = answer.metadata().and_then(parse_modified);
        Ok((answer.body, Answer { sha256, origin_modified, waited: asked.elapsed() }))
    }

    fn describe_object(&self) -> String {
        format!("`{}/{}`", self.bucket.address(), self.entry.key)
    }

    fn connection_lost(&self, read: u64, error: &(dyn std::error::Error + 'static)) -> Failure {
        let mut failure = self.cut_short(read);
        failure.message = format!("{}: {}", failure.message, innermost_cause(error));
        failure
    }

    fn cut_short(&self, read: u64) -> Failure {
        let size = self.entry.size;
        let message =
            format!("cannot read {}: the connection was lost after {read} of {size} bytes", self.describe_object());
        Failure::new(Kind::BucketUnreachable, message).hint("run the same command again to resume the transfer")
    }

    pub(super) fn changed(&self) -> Failure {
        Failure::new(Kind::ChecksumMismatch, format!("{} changed while it was read", self.describe_object()))
            .hint("run the same command again")
    }

    pub(super) fn mismatch(&self) -> Failure {
        let message = format!("the content of {} does not match its stored checksum", self.describe_object());
        Failure::new(Kind::ChecksumMismatch, message)
            .hint("it was damaged in transit or on the server: upload it again")
    }
}

/// Counts the large objects that are being downloaded.
struct LargeDownload;

static LARGE_DOWNLOADS: AtomicUsize = AtomicUsize::new(0);

impl LargeDownload {
    fn begin() -> LargeDownload {
        LARGE_DOWNLOADS.fetch_add(1, Ordering::Relaxed);
        LargeDownload
    }

    fn is_alone() -> bool {
        LARGE_DOWNLOADS.load(Ordering::Relaxed) == 1
    }
}

impl Drop for LargeDownload {
    fn drop(&mut self) {
        LARGE_DOWNLOADS.fetch_sub(1, Ordering::Relaxed);
    }
}
