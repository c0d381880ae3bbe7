//! The checksums and times that were stored with an object when it was uploaded.

use jiff::Timestamp;

use super::checksums::{ExpectedChecksums, parse_sha256};
use crate::bucket::{Bucket, ObjectInfo};
use crate::failure::Result;

/// The checksums and the modification time that were stored with an object. Listings do not have them.
pub(super) async fn stored_metadata(
    bucket: &Bucket,
    entry: &ObjectInfo,
) -> Result<(ExpectedChecksums, Option<Timestamp>)> {
    let head = match entry.sha256 {
        Some(_) => None,
        None => bucket.head(&entry.key).await?,
    };
    let entry = head.as_ref().unwrap_or(entry);
    let sha256 = entry.sha256.as_deref().and_then(parse_sha256);
    Ok((ExpectedChecksums { sha256, crc64nvme: entry.crc64nvme }, entry.origin_modified))
}
