//! Whole files to a bucket and back.
//!
//! A file up to [`PART`] bytes goes in one request, a larger one in parts, [`IN_FLIGHT`] at a time, which bounds memory
//! at [`IN_FLIGHT`] + 1 parts. Parts are read in order by one reader that sums them up, so that what was sent is what
//! the stored SHA-256 says. An upload that is dropped in the middle leaves its parts on the server, but no object.

use std::collections::HashMap;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;

use crate::bucket::key::Key;
use crate::bucket::object::{Content, Summing};
use crate::bucket::source::Source;
use crate::bucket::{blocking, long_blocking};
use crate::failure::{Failure, IoContext, Kind, Result};

use super::{S3Bucket, SHA256, sums_metadata};

/// The size of a part in bytes: the smallest that S3 takes.
const PART: u64 = 5 * 1024 * 1024;

/// S3 takes this many parts; the parts of larger files are larger.
const MOST_PARTS: u64 = 10_000;

/// How many parts are on their way at once.
const IN_FLIGHT: usize = 2;

impl S3Bucket {
    pub(in crate::bucket) async fn store(&self, source: Source, key: &Key) -> Result<Content> {
        if source.size() <= PART {
            self.store_at_once(source, key).await
        } else {
            self.store_in_parts(source, key).await
        }
    }

    async fn store_at_once(&self, mut source: Source, key: &Key) -> Result<Content> {
        let (bytes, content) = blocking(move || {
            let mut bytes = Vec::new();
            let content = source.read_through(|piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Ok((bytes, content))
        })
        .await?;
        self.put(key, bytes).await?;
        Ok(content)
    }

    async fn store_in_parts(&self, source: Source, key: &Key) -> Result<Content> {
        // The sum is stored with the object, and S3 wants to know that at the start.
        let (source, content) = long_blocking(move |wanted| {
            let mut source = source;
            let content = source.read_through(|_| wanted.check())?;
            source.rewind()?;
            Ok((source, content))
        })
        .await?;
        let upload = &self.begin_parts(key, sums_metadata(&content.sha256, None)).await?;
        let done = match self.send_parts(source, key, upload, &content).await {
            Ok(parts) => self.complete(key, upload, parts).await,
            Err(failure) => Err(failure),
        };
        if done.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&*self.name).key(key.as_str()).upload_id(upload);
            // What stood in the way of the upload matters, not what stands in the way of tidying up after it.
            let _ = abort.send().await;
        }
        done.map(|()| content)
    }

    /// Begins an upload in parts: its id. `sums` are stored with it.
    pub(in crate::bucket) async fn begin_parts(&self, key: &Key, sums: HashMap<String, String>) -> Result<String> {
        let request = self.client.create_multipart_upload().bucket(&*self.name).key(key.as_str());
        let begun = request.set_metadata(Some(sums)).send().await;
        let id = match &begun {
            Ok(answer) => answer.upload_id().map(str::to_owned),
            // rclone's server names the answer's root element otherwise than S3, which the SDK does not take.
            Err(error) => error
                .raw_response()
                .filter(|response| response.status().is_success())
                .and_then(|response| upload_id(response.body().bytes()?)),
        };
        match (id, begun) {
            (Some(id), _) => Ok(id),
            (None, Err(error)) => Err(self.failure("write", Some(key), &error)),
            (None, Ok(_)) => {
                let words = format!("cannot write `{}/{key}`: {} gives no upload id", self.address, self.server);
                Err(Failure::new(Kind::BucketError, words))
            }
        }
    }

    async fn send_parts(
        &self,
        mut source: Source,
        key: &Key,
        upload: &str,
        content: &Content,
    ) -> Result<Vec<CompletedPart>> {
        let size = source.size();
        let length = PART.max(size.div_ceil(MOST_PARTS));
        let mut summing = Summing::default();
        let mut parts = Vec::new();
        let mut in_flight = FuturesUnordered::new();
        for number in 1.. {
            if summing.size() >= size {
                break;
            }
            let part;
            (source, summing, part) = blocking(move || {
                let part = source.read_part(length)?;
                summing.update(&part);
                Ok((source, summing, part))
            })
            .await?;
            if part.is_empty() || summing.size() > size {
                return Err(source.changed());
            }
            in_flight.push(self.send_part(key, upload, number, part));
            if in_flight.len() >= IN_FLIGHT {
                parts.extend(in_flight.next().await.transpose()?);
            }
        }
        while let Some(part) = in_flight.next().await {
            parts.push(part?);
        }
        source.check_whole(summing.size())?;
        if summing.finish() != *content {
            return Err(source.changed());
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    async fn send_part(&self, key: &Key, upload: &str, number: i32, bytes: Vec<u8>) -> Result<CompletedPart> {
        let sent = self
            .client
            .upload_part()
            .bucket(&*self.name)
            .key(key.as_str())
            .upload_id(upload)
            .part_number(number)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|error| self.failure("write", Some(key), &error))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
    }

    async fn complete(&self, key: &Key, upload: &str, parts: Vec<CompletedPart>) -> Result<()> {
        let request = self.client.complete_multipart_upload().bucket(&*self.name).key(key.as_str()).upload_id(upload);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let completed = request.multipart_upload(parts).send().await;
        completed.map(drop).map_err(|error| self.failure("write", Some(key), &error))
    }

    /// Copies an object's content into an open file. `path` is for messages only.
    pub(in crate::bucket) async fn fetch(&self, key: &Key, into: std::fs::File, path: &Path) -> Result<Content> {
        let response = self.get(key).await?;
        let size = response.content_length().and_then(|size| u64::try_from(size).ok());
        let stored = response.metadata().and_then(|metadata| metadata.get(SHA256)).cloned();
        let mut into = tokio::fs::File::from_std(into);
        let mut summing = Summing::default();
        let mut body = response.body;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| self.broke_off(key, &error))?;
            summing.update(&piece);
            into.write_all(&piece).await.doing("write", path)?;
        }
        into.flush().await.doing("write", path)?;
        let content = summing.finish();
        if let Some(size) = size.filter(|size| *size != content.size) {
            return Err(crate::bucket::cut_short(key, size, content.size));
        }
        if stored.is_some_and(|stored| stored != content.sha256) {
            let words = format!("`{}/{key}` is not what was stored: its SHA-256 is another", self.address);
            return Err(Failure::new(Kind::ChecksumMismatch, words));
        }
        Ok(content)
    }
}

/// The upload's id in the XML of an answer. Ids are made for URLs: nothing in them is escaped.
fn upload_id(body: &[u8]) -> Option<String> {
    let (_, rest) = str::from_utf8(body).ok()?.split_once("<UploadId>")?;
    let (id, _) = rest.split_once("</UploadId>")?;
    Some(id.to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uploads_id_is_found_whatever_the_answer_is_called() {
        let body = b"<?xml version=\"1.0\"?>\n<InitiateMultipartUpload>\n  <UploadId>1d8f-85a2</UploadId>\n</InitiateMultipartUpload>";
        assert_eq!(upload_id(body).as_deref(), Some("1d8f-85a2"));
        assert_eq!(upload_id(b"<UploadId></UploadId>"), None);
        assert_eq!(upload_id(b"<Error/>"), None);
    }
}
