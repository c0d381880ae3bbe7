//! Uploads of files.
//!
//! On S3 a file of up to [`SINGLE_REQUEST_LIMIT`] bytes is sent in one request, a larger one in parts, several at a
//! time. The file is read in the order of its parts. Its SHA-256 is stored with the object, and must be the expected
//! one, where there is one: a file that changes meanwhile is not stored.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::changed_files::{Transfer, with_folder};
use super::checksums::{ChecksumStream, Checksums, ExpectedChecksums, Sha256Sum};
use super::index::KnownFile;
use super::memory::{Buffer, reserve_memory};
use super::part_size::{SINGLE_REQUEST_LIMIT, part_size};
use super::unfinished_uploads::{PendingUpload, UnfinishedUpload};
use super::upload_source::UploadSource;
use crate::blocking::{run_blocking, run_cancellable};
use crate::bucket::{DirBucket, Key, checksum_metadata, content_type, modified_metadata, unquoted_etag};
use crate::failure::{Kind, Result};
use crate::file_stamp::FileStamp;

/// How many parts of one file are sent at once.
const PARTS_IN_FLIGHT: usize = 4;

impl Transfer {
    /// Stores a file under a key, if its SHA-256 is the `expected` one. `size` is its presumed size in bytes.
    pub(super) async fn upload(
        &self,
        path: &Path,
        key: &Key,
        expected: Option<Sha256Sum>,
        size: Option<u64>,
    ) -> Result<KnownFile> {
        let (relative, may_grow, s3) = (path.to_owned(), self.may_grow, self.bucket.as_s3());
        let reserved = reserve_memory(size.unwrap_or(SINGLE_REQUEST_LIMIT).min(SINGLE_REQUEST_LIMIT)).await;
        // Allocated on this thread: the allocator keeps freed memory for each thread that asked for it, and there are
        // many.
        let room =
            Vec::with_capacity(size.filter(|size| *size <= SINGLE_REQUEST_LIMIT).map_or(0, |size| size as usize));
        let is_s3 = s3.is_some();
        let (source, whole) = with_folder(&self.folder, move |folder| {
            let (file, metadata) = folder.open_file(&relative)?;
            let stamp = FileStamp::from_metadata(&metadata);
            let source = UploadSource { file: Arc::new(file), stamp, path: folder.path().join(&relative), may_grow };
            let is_single = is_s3 && stamp.size <= SINGLE_REQUEST_LIMIT;
            let whole = if is_single { Some(source.read_whole(expected, room)?) } else { None };
            Ok((source, whole))
        })
        .await?;
        let stamp = source.stamp;
        let Some((client, bucket)) = s3 else {
            drop(reserved);
            return match self.bucket.as_directory() {
                Some(directory) => self.copy_to_directory(directory, source, key, expected).await,
                None => Err(source.changed()),
            };
        };
        let upload = S3Upload { transfer: self, client, bucket, key, source };
        let (sha256, etag) = match whole {
            Some((bytes, sums)) => (sums.sha256, upload.send_whole(bytes, &sums).await?),
            None => {
                drop(reserved);
                upload.send_in_parts(expected).await?
            }
        };
        Ok(KnownFile::new(stamp, sha256, etag))
    }

    async fn copy_to_directory(
        &self,
        directory: &DirBucket,
        source: UploadSource,
        key: &Key,
        expected: Option<Sha256Sum>,
    ) -> Result<KnownFile> {
        let (stamp, may_grow) = (source.stamp, source.may_grow);
        let (to, at) = (directory.clone(), key.clone());
        let sums = run_cancellable(move |cancel| {
            to.put_with(&at, |file, failed| {
                source.read_through(expected, |piece| {
                    cancel.check()?;
                    file.write_all(piece).map_err(|error| failed(&error))
                })
            })
        });
        let sha256 = sums.await?.sha256;
        // The next upload of a file that grows sends it again.
        let version = if may_grow { Box::default() } else { self.object_version(key).await? };
        Ok(KnownFile::new(stamp, sha256, version))
    }
}

/// A file on its way to S3.
struct S3Upload<'s> {
    transfer: &'s Transfer,
    client: &'s Client,
    bucket: &'s str,
    key: &'s Key,
    source: UploadSource,
}

impl S3Upload<'_> {
    async fn send_whole(&self, bytes: Vec<u8>, sums: &Checksums) -> Result<String> {
        let put = self.client.put_object().bucket(self.bucket).key(self.key.as_str());
        let stored = self.metadata(&hex::encode(sums.sha256), Some(sums.crc64nvme));
        let put = put.set_content_type(content_type(self.key)).set_metadata(Some(stored)).body(ByteStream::from(bytes));
        let sent =
            put.send().await.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(unquoted_etag(sent.e_tag().unwrap_or_default()))
    }

    /// The user metadata that is stored with the object: checksums and the file's modification time.
    fn metadata(&self, sha256: &str, crc64nvme: Option<u64>) -> HashMap<String, String> {
        let mut metadata = checksum_metadata(sha256, crc64nvme);
        metadata.extend([modified_metadata(self.source.stamp.modified)]);
        metadata
    }

    async fn send_in_parts(&self, expected: Option<Sha256Sum>) -> Result<(Sha256Sum, String)> {
        let part = part_size(self.source.stamp.size);
        let pending = PendingUpload::find(self.transfer.bucket.address(), self.key, self.source.stamp.size, part);
        // Parts from an earlier process count only if they are of the same content.
        let (sha256, crc64nvme) = match expected {
            Some(expected) if pending.is_none() => (expected, None),
            _ => self.source.checksums(expected).await.map(|sums| (sums.sha256, Some(sums.crc64nvme)))?,
        };
        let expected = ExpectedChecksums { sha256: Some(sha256), crc64nvme };
        let resumed = match pending {
            Some(pending) if pending.sha256 == hex::encode(sha256) => {
                self.stored_parts(&pending).await?.map(|stored| (pending, stored))
            }
            Some(other) => {
                self.abort(&other.upload).await;
                None
            }
            None => None,
        };
        let (pending, stored) = match resumed {
            Some(resumed) => resumed,
            None => (self.begin(&expected, part).await?, Vec::new()),
        };
        let parts = match self.send_parts(&pending, stored, expected).await {
            // No part of a file that has changed is of use.
            Err(failure) if failure.kind == Kind::ChecksumMismatch => {
                self.abort(&pending.upload).await;
                pending.forget();
                return Err(failure);
            }
            parts => parts?,
        };
        let etag = self.complete(&pending.upload, parts).await?;
        pending.forget();
        Ok((sha256, etag))
    }

    async fn begin(&self, expected: &ExpectedChecksums, part: u64) -> Result<PendingUpload> {
        let bucket = &self.transfer.bucket;
        let sha256 = expected.sha256.map(hex::encode).unwrap_or_default();
        let pending = PendingUpload {
            address: bucket.address().to_owned(),
            key: self.key.as_str().to_owned(),
            upload: bucket.begin_multipart_upload(self.key, self.metadata(&sha256, expected.crc64nvme)).await?,
            size: self.source.stamp.size,
            part,
            sha256,
        };
        pending.remember();
        Ok(pending)
    }

    /// The parts that an earlier process has sent; `None` if the server no longer knows the upload.
    async fn stored_parts(&self, pending: &PendingUpload) -> Result<Option<Vec<CompletedPart>>> {
        let Some(parts) = self.unfinished(&pending.upload).parts().await? else {
            pending.forget();
            return Ok(None);
        };
        let whole = |number: i32| {
            let from = u64::try_from(number - 1).unwrap_or_default() * pending.part;
            pending.part.min(pending.size.saturating_sub(from))
        };
        let parts = parts.into_iter().filter(|part| part.size == whole(part.number) && part.size > 0);
        Ok(Some(parts.map(|part| completed_part(part.number, Some(&part.etag), part.crc32.as_deref())).collect()))
    }

    async fn send_parts(
        &self,
        pending: &PendingUpload,
        stored: Vec<CompletedPart>,
        expected: ExpectedChecksums,
    ) -> Result<Vec<CompletedPart>> {
        // When parts are skipped, no checksum of the whole can be computed here: it was computed before, and the file's
        // stamp shows that the file is still the same.
        let mut stream = stored.is_empty().then(|| ChecksumStream::expecting(expected));
        let mut parts = stored;
        let is_stored: std::collections::HashSet<i32> = parts.iter().filter_map(CompletedPart::part_number).collect();
        let mut in_flight = FuturesUnordered::new();
        let count = pending.size.div_ceil(pending.part);
        for number in (1..=i32::try_from(count).unwrap_or(i32::MAX)).filter(|number| !is_stored.contains(number)) {
            let from = u64::try_from(number - 1).unwrap_or_default() * pending.part;
            let length = pending.part.min(pending.size - from);
            let mut memory = pin!(reserve_memory(length));
            // Parts in flight return their memory only while they are polled. If several files waited for memory
            // without polling their own parts, none would make progress.
            let memory = loop {
                tokio::select! {
                    Some(part) = in_flight.next() => parts.push(part?),
                    memory = &mut memory, if in_flight.len() < PARTS_IN_FLIGHT => break memory,
                }
            };
            let source = self.source.clone();
            let part;
            (stream, part) = run_blocking(move || {
                let mut part = Buffer::new(length, memory);
                source.fill(part.as_mut(), from)?;
                if let Some(stream) = &mut stream {
                    stream.update(part.as_ref());
                }
                Ok((stream, Bytes::from_owner(part)))
            })
            .await?;
            in_flight.push(self.send_part(&pending.upload, number, part));
        }
        while let Some(part) = in_flight.next().await {
            parts.push(part?);
        }
        self.source.check_unchanged()?;
        if stream.is_some_and(|stream| stream.finish().is_none()) {
            return Err(self.source.differs());
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    async fn send_part(&self, upload: &str, number: i32, bytes: Bytes) -> Result<CompletedPart> {
        let request = self.client.upload_part().bucket(self.bucket).key(self.key.as_str()).upload_id(upload);
        let sent = request.part_number(number).body(ByteStream::from(bytes)).send().await;
        let sent = sent.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(completed_part(number, sent.e_tag(), sent.checksum_crc32()))
    }

    async fn complete(&self, upload: &str, parts: Vec<CompletedPart>) -> Result<String> {
        let request = self.client.complete_multipart_upload().bucket(self.bucket).key(self.key.as_str());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let done = request.upload_id(upload).multipart_upload(parts).send().await;
        let done = done.map_err(|error| self.transfer.bucket.s3_failure("write", Some(self.key), &error))?;
        Ok(unquoted_etag(done.e_tag().unwrap_or_default()))
    }

    /// Aborts an upload. A failure to do so is ignored: the failure that led here matters more.
    async fn abort(&self, upload: &str) {
        let _ = self.unfinished(upload).abort().await;
    }

    fn unfinished(&self, upload: &str) -> UnfinishedUpload {
        UnfinishedUpload { bucket: self.transfer.bucket.clone(), key: self.key.clone(), id: upload.to_owned() }
    }
}

/// A part in the request that completes an upload. Servers that checked a part's CRC-32 want it again.
fn completed_part(number: i32, etag: Option<&str>, crc32: Option<&str>) -> CompletedPart {
    let part = CompletedPart::builder().part_number(number).set_e_tag(etag.map(str::to_owned));
    part.set_checksum_crc32(crc32.map(str::to_owned)).build()
}
