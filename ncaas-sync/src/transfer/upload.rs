//! Files to a bucket.
//!
//! On S3 a file up to [`AT_ONCE`] bytes goes in one request, a larger one in parts, several at a time. A file is read in
//! the order of its parts. What was read is stored with it as SHA-256, and must be what was read before, or what
//! somebody said it has to be: a file that changes meanwhile is not stored.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ncaas_core::bucket::{Key, sums_metadata};
use ncaas_core::failure::{Failure, Kind, Result};

use super::memory::{Buffer, memory};
use super::resume::{Begun, Unfinished};
use super::sums::{self, Known, Summing, Sums};
use super::{Sha, Stamp, Transfer, hex, with_folder};
use crate::index::Seen;
use crate::local::blocking;

/// The largest file that goes in one request, in bytes.
const AT_ONCE: u64 = 8 << 20;
/// The size of a part, in bytes.
pub(super) const PART: u64 = 8 << 20;
/// S3 takes this many parts; the parts of larger files are larger.
const MOST_PARTS: u64 = 10_000;
/// How many parts of one file are on their way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// The size of the parts that a file of that size goes in.
pub(super) fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20))
}

impl Transfer {
    /// Stores a file under a key. `known`: what its SHA-256 has to be; `size`: what it is thought to be in bytes.
    pub(super) async fn upload(&self, path: &Path, key: &Key, known: Option<Sha>, size: Option<u64>) -> Result<Seen> {
        let (to_open, grows, is_s3) = (path.to_owned(), self.grows, self.bucket.as_s3().is_some());
        let permit = memory(size.unwrap_or(AT_ONCE).min(AT_ONCE)).await;
        // From this thread: the allocator keeps what is free again for each thread that asked for it, and there are many.
        let room = Vec::with_capacity(size.filter(|size| *size <= AT_ONCE).map_or(0, |size| size as usize));
        let (source, whole) = with_folder(&self.folder, move |folder| {
            let (file, metadata) = folder.open_file(&to_open)?;
            let stamp = Stamp::of(&metadata);
            let source = Source { file: Arc::new(file), stamp, path: folder.path().join(&to_open), grows };
            let whole = if is_s3 && stamp.size <= AT_ONCE { Some(source.whole(known, room)?) } else { None };
            Ok((source, whole))
        })
        .await?;
        let Some((client, bucket)) = self.bucket.as_s3() else {
            drop(permit);
            return self.copy(source, key, known).await;
        };
        let stamp = source.stamp;
        let sending = Sending { transfer: self, client, bucket, key, source };
        let (sha256, etag) = match whole {
            Some((bytes, sums)) => (sums.sha256, sending.at_once(bytes, &sums).await?),
            None => {
                drop(permit);
                sending.in_parts(known).await?
            }
        };
        Ok(Seen::new(stamp, sha256, etag))
    }

    /// Into a directory.
    async fn copy(&self, source: Source, key: &Key, known: Option<Sha>) -> Result<Seen> {
        if source.grows {
            return self.copy_beginning(source, key).await;
        }
        let file = source.file.try_clone().map_err(|error| source.failure(&error))?;
        if known.is_some() {
            source.sums(known).await?;
        }
        let content = self.bucket.upload_file(file, &source.path, key).await?;
        let sha256 = sums::unhex(&content.sha256).unwrap_or_default();
        Ok(Seen::new(source.stamp, sha256, self.version_after(key).await?))
    }
}

impl Transfer {
    /// Into a directory, of a file that somebody is writing to: a copy of what is there.
    async fn copy_beginning(&self, source: Source, key: &Key) -> Result<Seen> {
        let stamp = source.stamp;
        let copied = blocking(move || {
            let mut copy = tempfile::tempfile().map_err(|error| source.failure(&error))?;
            let mut from = 0;
            while from < stamp.size {
                let piece = source.read(from, PART)?;
                copy.write_all(&piece).map_err(|error| source.failure(&error))?;
                from += piece.len() as u64;
            }
            copy.rewind().map_err(|error| source.failure(&error))?;
            Ok((copy, source.path))
        });
        let (copy, path) = copied.await?;
        let content = self.bucket.upload_file(copy, &path, key).await?;
        Ok(Seen::new(stamp, sums::unhex(&content.sha256).unwrap_or_default(), ""))
    }
}

/// An open file that is to be stored whole and unchanged.
#[derive(Debug, Clone)]
struct Source {
    file: Arc<File>,
    stamp: Stamp,
    path: PathBuf,
    /// Whether what it had when it was opened is all that is wanted.
    grows: bool,
}

impl Source {
    /// Reads one part: less of it at the end of the file.
    fn read(&self, from: u64, length: u64) -> Result<Vec<u8>> {
        let length = length.min(self.stamp.size.saturating_sub(from));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(&mut bytes, from).map(|()| bytes)
    }

    fn fill(&self, bytes: &mut [u8], from: u64) -> Result<()> {
        self.file.read_exact_at(bytes, from).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => self.failure(&error),
        })
    }

    /// All of a small one, read into `bytes`, and its checksums, if the SHA-256 is the one that is known.
    fn whole(&self, sha256: Option<Sha>, mut bytes: Vec<u8>) -> Result<(Vec<u8>, Sums)> {
        let read = (&*self.file).take(self.stamp.size).read_to_end(&mut bytes).map_err(|error| self.failure(&error))?;
        if (read as u64) < self.stamp.size {
            return Err(self.changed());
        }
        self.check()?;
        let mut summing = Summing::against(Known { sha256, crc64nvme: None });
        summing.update(&bytes);
        summing.finish().map(|sums| (bytes, sums)).ok_or_else(|| self.is_another())
    }

    /// Its checksums, if the SHA-256 is the one that is known.
    async fn sums(&self, sha256: Option<Sha>) -> Result<Sums> {
        let source = self.clone();
        blocking(move || {
            let limit = if source.grows { source.stamp.size } else { u64::MAX };
            let sums = sums::of_file(&source.file, limit, Known { sha256, crc64nvme: None });
            let sums = sums.map_err(|error| source.failure(&error))?;
            source.check()?;
            sums.ok_or_else(|| source.is_another())
        })
        .await
    }

    /// Fails if somebody has written to the file since it was opened.
    fn check(&self) -> Result<()> {
        let now = Stamp::of(&self.file.metadata().map_err(|error| self.failure(&error))?);
        let is_whole = self.stamp.is_of_same_content(&now) || self.grows && now.size >= self.stamp.size;
        if is_whole { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Failure {
        Failure::new(Kind::ChecksumMismatch, format!("`{}` changed while it was read", self.path.display()))
            .hint("nothing was stored; run it again when the file is complete")
    }

    fn is_another(&self) -> Failure {
        let words = format!("`{}` is not what its record says: its SHA-256 is another", self.path.display());
        Failure::new(Kind::ChecksumMismatch, words).hint("`ncaas-sync verify` shows all that differ")
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::io("read", &self.path, error)
    }
}

/// One file on its way.
struct Sending<'s> {
    transfer: &'s Transfer,
    client: &'s Client,
    bucket: &'s str,
    key: &'s Key,
    source: Source,
}

impl Sending<'_> {
    async fn at_once(&self, bytes: Vec<u8>, sums: &Sums) -> Result<String> {
        let put = self.client.put_object().bucket(self.bucket).key(self.key.as_str());
        let stored = sums_metadata(&hex(&sums.sha256), Some(sums.crc64nvme));
        let put = put.set_metadata(Some(stored)).body(ByteStream::from(bytes));
        let sent =
            put.send().await.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(unquoted(sent.e_tag()))
    }

    async fn in_parts(&self, known: Option<Sha>) -> Result<(Sha, String)> {
        let part = part_size(self.source.stamp.size);
        let begun = Begun::find(self.transfer.bucket.address(), self.key, self.source.stamp.size, part);
        // What an earlier process has sent counts only if it was of this very content.
        let (sha256, crc64nvme) = match known {
            Some(known) if begun.is_none() => (known, None),
            _ => self.source.sums(known).await.map(|sums| (sums.sha256, Some(sums.crc64nvme)))?,
        };
        let known = Known { sha256: Some(sha256), crc64nvme };
        let (begun, there) = match begun {
            Some(begun) if begun.sha256 == hex(&sha256) => match self.parts_there(&begun).await? {
                Some(there) => (begun, there),
                None => (self.begin(&known, part).await?, Vec::new()),
            },
            Some(other) => {
                self.abort(&other.upload).await;
                (self.begin(&known, part).await?, Vec::new())
            }
            None => (self.begin(&known, part).await?, Vec::new()),
        };
        let parts = match self.send_parts(&begun, there, known).await {
            // Of a file that has changed no part is of use.
            Err(failure) if failure.kind == Kind::ChecksumMismatch => {
                self.abort(&begun.upload).await;
                begun.forget();
                return Err(failure);
            }
            parts => parts?,
        };
        let etag = self.complete(&begun.upload, parts).await?;
        begun.forget();
        Ok((sha256, etag))
    }

    async fn begin(&self, known: &Known, part: u64) -> Result<Begun> {
        let bucket = &self.transfer.bucket;
        let sha256 = known.sha256.map(|sha256| hex(&sha256)).unwrap_or_default();
        let begun = Begun {
            address: bucket.address().to_owned(),
            key: self.key.as_str().to_owned(),
            upload: bucket.begin_parts(self.key, sums_metadata(&sha256, known.crc64nvme)).await?,
            size: self.source.stamp.size,
            part,
            sha256,
        };
        begun.remember();
        Ok(begun)
    }

    /// The parts that an earlier process has sent; none where the server knows nothing of the upload any more.
    async fn parts_there(&self, begun: &Begun) -> Result<Option<Vec<CompletedPart>>> {
        let unfinished =
            Unfinished { bucket: self.transfer.bucket.clone(), key: self.key.clone(), id: begun.upload.clone() };
        let Some(parts) = unfinished.parts().await? else {
            begun.forget();
            return Ok(None);
        };
        let whole = |number: i32| {
            let from = u64::try_from(number - 1).unwrap_or_default() * begun.part;
            begun.part.min(begun.size.saturating_sub(from))
        };
        let parts = parts.into_iter().filter(|part| part.size == whole(part.number) && part.size > 0);
        Ok(Some(parts.map(|part| completed(part.number, Some(&part.etag))).collect()))
    }

    async fn send_parts(&self, begun: &Begun, there: Vec<CompletedPart>, known: Known) -> Result<Vec<CompletedPart>> {
        // With parts missing from the sum there is none; then the file was summed up before, and its stamp tells.
        let mut summing = there.is_empty().then(|| Summing::against(known));
        let mut parts = there;
        let is_there: std::collections::HashSet<i32> = parts.iter().filter_map(CompletedPart::part_number).collect();
        let mut in_flight = FuturesUnordered::new();
        let count = begun.size.div_ceil(begun.part);
        for number in (1..=i32::try_from(count).unwrap_or(i32::MAX)).filter(|number| !is_there.contains(number)) {
            let from = u64::try_from(number - 1).unwrap_or_default() * begun.part;
            let length = begun.part.min(begun.size - from);
            let mut memory = pin!(memory(length));
            // Parts under way give their memory back only if they are seen to: of several files that all waited for it
            // with parts of their own, none would go on.
            let memory = loop {
                tokio::select! {
                    Some(part) = in_flight.next() => parts.push(part?),
                    memory = &mut memory, if in_flight.len() < PARTS_IN_FLIGHT => break memory,
                }
            };
            let source = self.source.clone();
            let part;
            (summing, part) = blocking(move || {
                let mut part = Buffer::new(length, memory);
                source.fill(part.as_mut(), from)?;
                if let Some(summing) = &mut summing {
                    summing.update(part.as_ref());
                }
                Ok((summing, Bytes::from_owner(part)))
            })
            .await?;
            in_flight.push(self.send_part(&begun.upload, number, part));
        }
        while let Some(part) = in_flight.next().await {
            parts.push(part?);
        }
        self.source.check()?;
        if summing.is_some_and(|summing| summing.finish().is_none()) {
            return Err(self.source.is_another());
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    async fn send_part(&self, upload: &str, number: i32, bytes: Bytes) -> Result<CompletedPart> {
        let request = self.client.upload_part().bucket(self.bucket).key(self.key.as_str()).upload_id(upload);
        let sent = request.part_number(number).body(ByteStream::from(bytes)).send().await;
        let sent = sent.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(completed(number, sent.e_tag()))
    }

    async fn complete(&self, upload: &str, parts: Vec<CompletedPart>) -> Result<String> {
        let request = self.client.complete_multipart_upload().bucket(self.bucket).key(self.key.as_str());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let done = request.upload_id(upload).multipart_upload(parts).send().await;
        let done = done.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(unquoted(done.e_tag()))
    }

    /// Drops an upload. What stood in its way matters more than that it cannot be dropped.
    async fn abort(&self, upload: &str) {
        let request = self.client.abort_multipart_upload().bucket(self.bucket).key(self.key.as_str());
        drop(request.upload_id(upload).send().await);
    }
}

fn completed(number: i32, etag: Option<&str>) -> CompletedPart {
    CompletedPart::builder().part_number(number).set_e_tag(etag.map(str::to_owned)).build()
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}
