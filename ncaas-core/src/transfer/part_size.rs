//! The size from which files are uploaded in parts, and the size of the parts.

/// The largest file that is sent in one request, in bytes.
pub(super) const SINGLE_REQUEST_LIMIT: u64 = 8 << 20;
/// S3 accepts this many parts; the parts of larger files are larger.
const MAX_PARTS: u64 = 10_000;
/// The size of a part, in bytes.
pub(super) const PART_SIZE: u64 = 8 << 20;

/// The part size for a file of `size` bytes.
pub(super) fn part_size(size: u64) -> u64 {
    PART_SIZE.max(size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20))
}
