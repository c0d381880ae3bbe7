//! Comparison of a local file and an object by their content.

use std::path::Path;

use super::changed_files::{Transfer, TransferOutcome, Transferred, version, with_folder};
use super::checksums::{EtagStream, ExpectedChecksums, Sha256Sum, file_checksums_and_etag, parse_sha256};
use super::download::object_sha256;
use super::index::KnownFile;
use super::part_size;
use super::stored_metadata::stored_metadata;
use crate::bucket::ObjectInfo;
use crate::failure::{IoContext, Result};
use crate::file_stamp::FileStamp;

/// The part sizes that common tools upload with, in MiB, smallest first.
const PART_SIZES: &[u64] = &[5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512];

impl Transfer {
    /// The outcome `Unchanged` if a file and an object have the same content.
    ///
    /// The comparison stops at the first that decides, in the order of their cost: the sizes; the index; the file's
    /// checksums against the object's ETag, or against the SHA-256 or CRC-64/NVME that was stored with it.
    ///
    /// # Errors
    /// When the file or the object cannot be read.
    pub async fn find_unchanged(
        &self,
        path: &Path,
        entry: &ObjectInfo,
        stamp: Option<&FileStamp>,
    ) -> Result<Option<Transferred>> {
        if stamp.is_some_and(|stamp| stamp.size != entry.size) {
            return Ok(None);
        }
        let version = version(entry);
        let unchanged = |sha256: &Sha256Sum| {
            Some(Transferred {
                outcome: TransferOutcome::Unchanged,
                size: entry.size,
                sha256: Some(hex::encode(sha256)),
            })
        };
        let stamp = match stamp {
            Some(stamp) => *stamp,
            None => {
                let relative = path.to_owned();
                let found = with_folder(&self.folder, move |folder| {
                    Ok(folder.open_file(&relative).ok().map(|(_, file)| FileStamp::from_metadata(&file)))
                });
                match found.await? {
                    Some(stamp) if stamp.size == entry.size => stamp,
                    _ => return Ok(None),
                }
            }
        };
        if !self.reread
            && let Some(known) = self.index().get(path, &stamp)
            && (*known.version == *version || entry.sha256.as_deref() == Some(&hex::encode(known.sha256)))
        {
            return Ok(unchanged(&known.sha256));
        }
        let Some(sha256) = self.read_and_compare(path, entry).await? else { return Ok(None) };
        self.index().insert(path, KnownFile::new(stamp, sha256, version));
        Ok(unchanged(&sha256))
    }

    /// Reads the file. Returns its SHA-256 if its content is the object's.
    async fn read_and_compare(&self, path: &Path, entry: &ObjectInfo) -> Result<Option<Sha256Sum>> {
        let etag = match entry.etag.as_deref().map(etag_kind) {
            Some(EtagKind::Md5) => Some(EtagStream::new(None)),
            Some(EtagKind::Parts(count)) => part_size(entry.size, count).map(|part| EtagStream::new(Some(part))),
            _ => None,
        };
        let relative = path.to_owned();
        let (sums, etag) = with_folder(&self.folder, move |folder| {
            let (file, _) = folder.open_file(&relative)?;
            file_checksums_and_etag(&file, etag).doing("read", &folder.path().join(&relative))
        })
        .await?;
        if etag.is_some() && etag == entry.etag {
            return Ok(Some(sums.sha256));
        }
        // An MD5 that differs proves a difference; other ETags do not depend on the content alone.
        if matches!(entry.etag.as_deref().map(etag_kind), Some(EtagKind::Md5)) && !self.may_be_encrypted(entry).await? {
            return Ok(None);
        }
        let expected = match self.bucket.as_directory() {
            None => stored_metadata(&self.bucket, entry).await?.0,
            Some(_) => {
                let sha256 = parse_sha256(&object_sha256(&self.bucket, entry).await?);
                ExpectedChecksums { sha256, crc64nvme: None }
            }
        };
        Ok(expected.confirm(&sums).then_some(sums.sha256))
    }

    /// Whether an ETag that looks like an MD5 may not be one: S3 makes it differently for some kinds of encryption.
    /// Then the stored checksum decides.
    async fn may_be_encrypted(&self, entry: &ObjectInfo) -> Result<bool> {
        let Some((client, bucket)) = self.bucket.as_s3() else { return Ok(false) };
        let head = client.head_object().bucket(bucket).key(entry.key.as_str()).send().await;
        let head = head.map_err(|error| self.bucket.s3_failure("read", Some(&entry.key), &error))?;
        Ok(head.server_side_encryption().is_some_and(|kind| kind.as_str() != "AES256")
            || head.ssekms_key_id().is_some())
    }
}

enum EtagKind {
    Md5,
    /// The number of parts.
    Parts(u64),
    Other,
}

fn etag_kind(etag: &str) -> EtagKind {
    let is_md5 = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match etag.split_once('-') {
        None if is_md5(etag) => EtagKind::Md5,
        Some((sum, count)) if is_md5(sum) => count.parse().map_or(EtagKind::Other, EtagKind::Parts),
        _ => EtagKind::Other,
    }
}

/// The part size of an object that was uploaded in `count` parts, if a common size gives that number.
fn part_size(size: u64, count: u64) -> Option<u64> {
    let ours = part_size::part_size(size);
    let common = PART_SIZES.iter().map(|mib| mib << 20);
    std::iter::once(ours).chain(common).find(|part| size.div_ceil(*part) == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_size_follows_from_the_number_of_parts() {
        assert_eq!(part_size(100 << 20, 20), Some(5 << 20));
        assert_eq!(part_size((100 << 20) + 1, 3), Some(50 << 20));
        assert_eq!(part_size(100 << 20, 7), Some(15 << 20));
        assert_eq!(part_size(100 << 20, 99), None);
    }

    #[test]
    fn an_etag_shows_how_it_was_computed() {
        assert!(matches!(etag_kind("fc3ff98e8c6a0d3087d515c0473f8677"), EtagKind::Md5));
        assert!(matches!(etag_kind("fc3ff98e8c6a0d3087d515c0473f8677-12"), EtagKind::Parts(12)));
        assert!(matches!(etag_kind("0x8D4BCC2E4835CD0"), EtagKind::Other));
    }
}
