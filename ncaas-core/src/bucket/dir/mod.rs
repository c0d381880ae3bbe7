//! A directory that is laid out as a bucket: keys are paths below it.
//!
//! Neither keys nor links in the directory are trusted. Every access goes through the [`cap_std::fs::Dir`] of the key's
//! group, which resolves paths beneath the group's folder and refuses `..` and links that lead out of it: a link of one
//! group does not reach another. A link in place of a group's folder is not followed.
//!
//! It differs from S3 in three points: a folder exists by itself, and is listed as a key that ends in `/` while it is
//! empty; a key cannot be an object and a folder at once; one name in a key has at most 255 bytes. Hidden names that
//! begin with `.ncaas-` belong to the tools: `.ncaas-part-*` is the remains of a killed process and can be deleted, and
//! `.ncaas-bucket/locks` orders conditional writes.

mod directory;
mod list;
mod write;

pub(crate) use directory::DirBucket;
pub(super) use list::Walk;
