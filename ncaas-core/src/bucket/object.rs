//! What is known of an object: from a listing, from a look at it, and after it has been read or written.

use std::hash::{BuildHasher, Hasher, RandomState};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

use super::key::Key;

/// One object, or one folder that stands for itself because nothing is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key; ends in `/` for an empty folder.
    pub key: Key,
    /// Size in bytes.
    pub size: u64,
    /// When the object was last written, by the server's or the file system's clock.
    pub modified: Timestamp,
    /// S3: the ETag without its quotes: the MD5 of the content, unless it came in parts or is encrypted. Directory: none.
    pub etag: Option<String>,
    /// SHA-256 of the content as lower-case hex, where it was stored when the object was uploaded. S3 tells it only of
    /// single objects, so listings do not have it; a directory never has it.
    pub sha256: Option<String>,
    /// CRC-64/NVME of the content, where the server has made it or it was stored when the object was uploaded. Known as
    /// rarely as `sha256`.
    pub crc64nvme: Option<u64>,
}

/// Which content of an object was read, for writing only if it is still there.
///
/// S3: its ETag. Directory: the SHA-256 of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub(super) String);

impl Version {
    /// The version of content in a directory.
    pub(super) fn of(bytes: &[u8]) -> Version {
        Version(sha256(bytes))
    }
}

/// Up to a thousand objects of a listing, in the order of their keys' bytes.
#[derive(Debug, Default)]
pub struct Page {
    /// The objects.
    pub entries: Vec<Entry>,
    /// The folders directly below the prefix. Only [`super::Bucket::list_folder`] fills it.
    pub folders: Vec<Key>,
    /// What lies there and cannot be used. It is never silently left out: whoever deletes what is not listed, or says
    /// that all is there, has to know.
    pub unusable: Vec<Unusable>,
}

impl Page {
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.folders.len() + self.unusable.len()
    }
}

/// Something in a bucket that has no usable key: `..` in an object's key, a file name that is not UTF-8, a link that
/// leads out of the directory, a device.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// Its name, as far as it can be written in UTF-8.
    pub name: String,
    /// Why it cannot be used.
    pub why: Failure,
}

/// The content of an object that was uploaded or downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 as lower-case hex.
    pub sha256: String,
}

/// SHA-256 and length of content that comes in pieces.
#[derive(Default)]
pub(super) struct Summing {
    digest: Sha256,
    size: u64,
}

impl Summing {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.size += piece.len() as u64;
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn finish(self) -> Content {
        Content { size: self.size, sha256: hex(&self.digest.finalize()) }
    }
}

/// SHA-256 of bytes in memory, as lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name that no other process or thread comes up with: 128 bits that the standard library seeds at random.
pub(super) fn nonce() -> String {
    let part = || RandomState::new().build_hasher().finish();
    let elsewhere = RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()));
    format!("{:016x}{:016x}", part(), elsewhere)
}
