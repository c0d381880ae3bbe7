//! The failures that both kinds of buckets report in the same words.

use super::key::{Key, quoted};
use crate::failure::{Failure, Kind};

pub(super) fn no_object(bucket: &str, key: &Key) -> Failure {
    let subject = quoted(&format!("{bucket}/{key}"));
    Failure::new(Kind::ObjectNotFound, format!("cannot read {subject}: the object does not exist"))
}

pub(super) fn too_large(key: &Key, limit: u64) -> Failure {
    let subject = quoted(key.as_str());
    Failure::new(Kind::TooLarge, format!("cannot read {subject}: it is larger than {limit} bytes"))
}

pub(super) fn cut_short(key: &Key, size: u64, read: u64) -> Failure {
    let subject = quoted(key.as_str());
    Failure::new(Kind::ChecksumMismatch, format!("cannot read {subject}: only {read} of its {size} bytes arrived"))
}
