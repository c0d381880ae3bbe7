//! How an object's content is asked for.
//!
//! A large one comes by ranges: a server, or the way to it, that is slow for one connection is less so for several, and
//! some servers send all of an object at twice the cost of its ranges. But some read all of an object before they send any
//! of it: one that takes longer to answer than to send is asked for all of the rest.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ncaas_core::bucket::Entry;
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::sync::mpsc;

use super::Transfer;
use super::content::Content;

/// How often an object is asked for without that anything more of it comes, and how long to wait before the second time.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How much of a large object that comes alone is asked for at once, in bytes, and how often at a time. It is held in
/// memory until what is before it has come.
const RANGE: u64 = 8 << 20;
const RANGES_IN_FLIGHT: usize = 4;
/// How much of one that comes beside others: the connections of those keep the way full, and each request has its cost.
const RANGE_BESIDE_OTHERS: u64 = 64 << 20;
/// An answer that takes longer, and longer than what it brings, is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How much is handed on at once of what comes piece by piece, in bytes.
const BATCH: u64 = 1 << 20;

impl Transfer {
    /// Brings a large object from a byte on.
    pub(super) async fn bring(&self, entry: &Entry, mut from: u64, to: &mpsc::Sender<Content>) -> Result<()> {
        let _counted = Large::begin();
        let mut is_slow_to_answer = false;
        while from < entry.size {
            let length = match () {
                () if is_slow_to_answer => entry.size,
                () if Large::is_alone() => RANGE,
                () => RANGE_BESIDE_OTHERS,
            };
            let range = from..entry.size.min(from + length);
            let asked = Instant::now();
            let Some(came) = self.piecewise(entry, range.clone(), to).await? else { return Ok(()) };
            from = range.end;
            is_slow_to_answer = came.waited > SLOW.max(asked.elapsed() / 2);
            if !is_slow_to_answer && Large::is_alone() {
                let Some(next) = self.several(entry, from, to).await? else { return Ok(()) };
                from = next;
            }
        }
        Ok(())
    }

    /// Brings an object from a byte on by several ranges at a time, as long as no other large one comes: up to which byte.
    /// None where no more is taken.
    async fn several(&self, entry: &Entry, mut from: u64, to: &mpsc::Sender<Content>) -> Result<Option<u64>> {
        let starts = (from..entry.size).step_by(RANGE as usize).take_while(|_| Large::is_alone());
        let ranges = starts.map(|from| self.range(entry, from..entry.size.min(from + RANGE)));
        let mut ranges = pin!(stream::iter(ranges).buffered(RANGES_IN_FLIGHT));
        while let Some(range) = ranges.next().await {
            let (content, _) = range?;
            from += content.size();
            if to.send(content).await.is_err() {
                return Ok(None);
            }
        }
        Ok(Some(from))
    }

    /// Brings a range of an object, and hands it on while it comes. None where no more is taken: who takes it says why.
    async fn piecewise(&self, entry: &Entry, range: Range<u64>, to: &mpsc::Sender<Content>) -> Result<Option<Came>> {
        let mut batch = Content::with_room_for(BATCH).await;
        let take = async |piece| {
            batch.push(piece);
            if batch.size() < BATCH {
                return true;
            }
            // First away with this one: of many objects that all waited for room and held some, none would go on.
            let is_taken = to.send(std::mem::take(&mut batch)).await.is_ok();
            batch = Content::with_room_for(BATCH).await;
            is_taken
        };
        let came = self.all_of(entry, range, take).await;
        // Also what came before it failed.
        let is_taken = to.send(batch).await.is_ok();
        came.map(|came| is_taken.then_some(came))
    }

    /// Some of an object's content, and the SHA-256 that was stored with all of it, in hex.
    pub(super) async fn range(&self, entry: &Entry, range: Range<u64>) -> Result<(Content, Option<String>)> {
        let mut content = Content::with_room_for(range.end - range.start).await;
        let take = async |piece| {
            content.push(piece);
            true
        };
        let came = self.all_of(entry, range, take).await?;
        Ok((content, came.sha256))
    }

    /// Hands over a range of an object piece by piece, however often that is broken off, until no more is taken.
    async fn all_of(
        &self,
        entry: &Entry,
        mut range: Range<u64>,
        mut take: impl AsyncFnMut(Bytes) -> bool,
    ) -> Result<Came> {
        let mut tries = 1;
        loop {
            let before = range.start;
            match self.fill(entry, &mut range, &mut take).await {
                Ok(came) => return Ok(came),
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
    ) -> Result<Came> {
        let (mut body, came) = self.ask(entry, missing.clone()).await?;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| self.broke_off(entry, missing.start, &error))?;
            if piece.len() as u64 > missing.end - missing.start {
                return Err(self.changed(entry));
            }
            missing.start += piece.len() as u64;
            if !take(piece).await {
                return Ok(came);
            }
        }
        if missing.is_empty() { Ok(came) } else { Err(self.cut_short(entry, missing.start)) }
    }

    /// Asks for a range of an object, as it was when it was listed.
    async fn ask(&self, entry: &Entry, range: Range<u64>) -> Result<(ByteStream, Came)> {
        let Some((client, bucket)) = self.bucket.as_s3() else {
            return Err(Failure::new(Kind::BucketError, "a directory answers no requests"));
        };
        let is_part = range != (0..entry.size);
        let request = client.get_object().bucket(bucket).key(entry.key.as_str());
        let bytes = is_part.then(|| format!("bytes={}-{}", range.start, range.end - 1));
        let same = entry.etag.as_ref().filter(|_| is_part).map(|etag| format!("\"{etag}\""));
        let asked = Instant::now();
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
        Ok((answer.body, Came { sha256, waited: asked.elapsed() }))
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

    pub(super) fn changed(&self, entry: &Entry) -> Failure {
        let words = format!("`{}/{}` changed while it was read", self.bucket.address(), entry.key);
        Failure::new(Kind::ChecksumMismatch, words).hint("run it again")
    }
}

/// What is known of content that came.
struct Came {
    /// What was stored with the object, in hex.
    sha256: Option<String>,
    /// How long the server took to answer.
    waited: Duration,
}

/// A large object that is coming.
struct Large;

static COMING: AtomicUsize = AtomicUsize::new(0);

impl Large {
    fn begin() -> Large {
        COMING.fetch_add(1, Ordering::Relaxed);
        Large
    }

    /// Whether none comes beside it.
    fn is_alone() -> bool {
        COMING.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        COMING.fetch_sub(1, Ordering::Relaxed);
    }
}
