//! The metadata of an object on S3: user metadata, the ETag, the time.

use std::collections::HashMap;

use aws_sdk_s3::primitives::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::time::{format_seconds, parse_seconds};

/// The user metadata (`x-amz-meta-sha256`) that holds the SHA-256 of an object's content as lower-case hex.
pub(super) const SHA256: &str = "sha256";

/// The user metadata that holds its CRC-64/NVME, as S3 writes it in headers: eight bytes, the highest first, in Base64.
pub(super) const CRC64NVME: &str = "crc64nvme";

pub(super) fn parse_crc64nvme(text: &str) -> Option<u64> {
    STANDARD.decode(text).ok()?.try_into().ok().map(u64::from_be_bytes)
}

/// The user metadata for content with this SHA-256, in hex, and this CRC-64/NVME, if it is known. Every server keeps
/// user metadata.
pub(crate) fn checksum_metadata(sha256: &str, crc64nvme: Option<u64>) -> HashMap<String, String> {
    let crc64nvme = crc64nvme.map(|sum| (CRC64NVME.to_owned(), STANDARD.encode(sum.to_be_bytes())));
    std::iter::once((SHA256.to_owned(), sha256.to_owned())).chain(crc64nvme).collect()
}

/// The user metadata that holds the modification time of the uploaded file, in seconds since 1970 as a decimal number,
/// as rclone stores it.
const MODIFIED: &str = "mtime";

/// The user metadata in which s3cmd stores a file's attributes: `.../mtime:1606753161/...`.
const S3CMD_ATTRIBUTES: &str = "s3cmd-attrs";

/// The user metadata for a modification time in nanoseconds since 1970.
pub(crate) fn modified_metadata(nanoseconds: i64) -> (String, String) {
    (MODIFIED.to_owned(), format_seconds(nanoseconds.into()))
}

/// The modification time in an object's user metadata.
pub(crate) fn parse_modified(metadata: &HashMap<String, String>) -> Option<Timestamp> {
    let s3cmd = || metadata.get(S3CMD_ATTRIBUTES)?.split('/').find_map(|attribute| attribute.strip_prefix("mtime:"));
    let text = metadata.get(MODIFIED).map(String::as_str).or_else(s3cmd)?;
    Timestamp::from_nanosecond(parse_seconds(text)?).ok()
}

/// A server's time; 1970 if it does not say.
pub(super) fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok()).unwrap_or_default()
}

/// An ETag without the quotes that it has in HTTP.
pub(crate) fn unquoted_etag(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modification_time_is_stored_and_read_as_other_tools_do() {
        let parsed = |name: &str, value: &str| {
            parse_modified(&HashMap::from([(name.to_owned(), value.to_owned())])).map(Timestamp::as_nanosecond)
        };
        for nanoseconds in [0, 1, 1_606_753_161_123_456_789, -1, -1_500_000_000] {
            let (name, value) = modified_metadata(nanoseconds);
            assert_eq!(parsed(&name, &value), Some(nanoseconds.into()), "{value}");
        }
        assert_eq!(parsed("mtime", "1606753161.5"), Some(1_606_753_161_500_000_000));
        assert_eq!(parsed("s3cmd-attrs", "atime:1/gid:0/mtime:1606753161/uid:0"), Some(1_606_753_161_000_000_000));
        for wrong in ["", "x", "1.x", "99999999999999999999999999999999999999999"] {
            assert_eq!(parsed("mtime", wrong), None, "{wrong}");
        }
    }
}
