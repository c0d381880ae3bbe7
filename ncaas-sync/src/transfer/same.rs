//! Whether a file on this machine and an object have the same content.

use std::path::Path;

use ncaas_core::bucket::{Bucket, Entry};
use ncaas_core::failure::{Failure, IoContext, Result};

use super::sums::{self, Etag, Known, unhex};
use super::{Done, Outcome, Sha, Stamp, Transfer, hex, version, with_folder};
use crate::index::Seen;

/// The part sizes that tools in common use upload with, in MiB, smallest first.
const PART_SIZES: &[u64] = &[5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512];

impl Transfer {
    /// What is known of the two if they are the same.
    ///
    /// In the order of what it costs: their sizes; what the index remembers; the file's checksums against the object's
    /// ETag, or against the SHA-256 or CRC-64/NVME that was stored with it.
    pub(crate) async fn same(&self, path: &Path, entry: &Entry, stamp: Option<&Stamp>) -> Result<Option<Done>> {
        if stamp.is_some_and(|stamp| stamp.size != entry.size) {
            return Ok(None);
        }
        let version = version(entry);
        let done =
            |sha256: &Sha| Some(Done { outcome: Outcome::Unchanged, size: entry.size, sha256: Some(hex(sha256)) });
        let stamp = match stamp {
            Some(stamp) => *stamp,
            None => {
                let to_look_at = path.to_owned();
                let found = with_folder(&self.folder, move |folder| {
                    Ok(folder.open_file(&to_look_at).ok().map(|(_, file)| Stamp::of(&file)))
                });
                match found.await? {
                    Some(stamp) if stamp.size == entry.size => stamp,
                    _ => return Ok(None),
                }
            }
        };
        if !self.reread
            && let Some(seen) = self.index().get(path, &stamp)
            && (*seen.version == *version || entry.sha256.as_deref() == Some(&hex(&seen.sha256)))
        {
            return Ok(done(&seen.sha256));
        }
        let Some(sha256) = self.is_read_to_be(path, entry).await? else { return Ok(None) };
        self.index().insert(path, Seen::new(stamp, sha256, version));
        Ok(done(&sha256))
    }

    /// Reads the file: its SHA-256, if its content is the object's.
    async fn is_read_to_be(&self, path: &Path, entry: &Entry) -> Result<Option<Sha>> {
        let etag = match entry.etag.as_deref().map(etag_kind) {
            Some(EtagKind::Md5) => Some(Etag::new(None)),
            Some(EtagKind::Parts(count)) => part_size(entry.size, count).map(|part| Etag::new(Some(part))),
            _ => None,
        };
        let to_read = path.to_owned();
        let (sums, etag) = with_folder(&self.folder, move |folder| {
            let (file, _) = folder.open_file(&to_read)?;
            sums::with_etag(&file, etag).doing("read", &folder.path().join(&to_read))
        })
        .await?;
        if etag.is_some() && etag == entry.etag {
            return Ok(Some(sums.sha256));
        }
        // An MD5 that differs is a difference; other ETags are not made of the content alone.
        if matches!(entry.etag.as_deref().map(etag_kind), Some(EtagKind::Md5)) && !self.may_be_encrypted(entry).await? {
            return Ok(None);
        }
        let known = match self.bucket.as_s3() {
            Some(_) => self.known(entry).await?,
            None => Known { sha256: unhex(&Self::content_sum(&self.bucket, entry).await?), crc64nvme: None },
        };
        Ok(known.is(&sums).then_some(sums.sha256))
    }

    /// Whether an ETag that looks like an MD5 may be none: with some kinds of encryption, S3 makes it otherwise. Then the
    /// stored checksum decides.
    async fn may_be_encrypted(&self, entry: &Entry) -> Result<bool> {
        let Some((client, bucket)) = self.bucket.as_s3() else { return Ok(false) };
        let head = client.head_object().bucket(bucket).key(entry.key.as_str()).send().await;
        let head = head.map_err(|error| self.bucket.s3_failure("read", Some(&entry.key), &error))?;
        Ok(head.server_side_encryption().is_some_and(|kind| kind.as_str() != "AES256")
            || head.ssekms_key_id().is_some())
    }

    /// What was stored with an object. Listings do not tell it.
    pub(super) async fn known(&self, entry: &Entry) -> Result<Known> {
        let looked_at = match entry.sha256 {
            Some(_) => None,
            None => self.bucket.head(&entry.key).await?,
        };
        let entry = looked_at.as_ref().unwrap_or(entry);
        Ok(Known { sha256: entry.sha256.as_deref().and_then(unhex), crc64nvme: entry.crc64nvme })
    }

    /// The SHA-256 of an object's content, in hex, by reading all of it.
    pub(crate) async fn content_sum(bucket: &Bucket, entry: &Entry) -> Result<String> {
        let nowhere = Path::new("/dev/null");
        let file = std::fs::File::options().write(true).open(nowhere);
        let file = file.map_err(|error| Failure::io("open", nowhere, &error))?;
        Ok(bucket.download_into(&entry.key, file, nowhere).await?.sha256)
    }
}

enum EtagKind {
    Md5,
    /// How many parts it came in.
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

/// The size of the parts that an object of that size came in, if there is a common one that makes so many.
fn part_size(size: u64, count: u64) -> Option<u64> {
    let ours = super::upload::part_size(size);
    let common = PART_SIZES.iter().map(|mib| mib << 20);
    std::iter::once(ours).chain(common).find(|part| size.div_ceil(*part) == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_parts_follows_from_their_number() {
        assert_eq!(part_size(100 << 20, 20), Some(5 << 20));
        assert_eq!(part_size((100 << 20) + 1, 3), Some(50 << 20));
        assert_eq!(part_size(100 << 20, 7), Some(15 << 20));
        assert_eq!(part_size(100 << 20, 99), None);
    }

    #[test]
    fn an_etag_tells_how_it_was_made() {
        assert!(matches!(etag_kind("fc3ff98e8c6a0d3087d515c0473f8677"), EtagKind::Md5));
        assert!(matches!(etag_kind("fc3ff98e8c6a0d3087d515c0473f8677-12"), EtagKind::Parts(12)));
        assert!(matches!(etag_kind("0x8D4BCC2E4835CD0"), EtagKind::Other));
    }
}
