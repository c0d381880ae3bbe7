//! Metadata of objects, their versions, and pages of listings.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

use super::key::Key;

/// One object, or one empty folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key; ends in `/` for an empty folder.
    pub key: Key,
    /// Size in bytes.
    pub size: u64,
    /// When the object was last written, by the clock of the server or the file system.
    pub modified: Timestamp,
    /// S3: the ETag without its quotes: the MD5 of the content, unless it was uploaded in parts or is encrypted.
    /// Directory: none.
    pub etag: Option<String>,
    /// SHA-256 of the content as lower-case hex, if it was stored when the object was uploaded. Listings and
    /// directories do not have it.
    pub sha256: Option<String>,
    /// CRC-64/NVME of the content, if the server computed it or it was stored when the object was uploaded. Listings
    /// and directories do not have it.
    pub crc64nvme: Option<u64>,
    /// When the content was last modified at its origin, where that was stored when the object was uploaded. Listings
    /// do not have it; in a directory it is `modified`.
    pub origin_modified: Option<Timestamp>,
}

/// The content of an object that was read, for overwriting only that content.
///
/// S3: its ETag. Directory: the SHA-256 of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub(super) String);

impl Version {
    /// The version of content in a directory.
    pub(super) fn from_content(bytes: &[u8]) -> Version {
        Version(sha256(bytes))
    }
}

/// How many objects a page of a listing has at most: what S3 gives at once.
pub(super) const PAGE: usize = 1000;

/// Up to a thousand objects of a listing, in the order of their keys' bytes.
#[derive(Debug, Default)]
pub struct Page {
    /// The objects.
    pub entries: Vec<ObjectInfo>,
    /// The folders directly below the prefix. Only [`super::Bucket::list_folder`] fills it.
    pub folders: Vec<Key>,
    /// Items without a usable key. They are never left out silently: a caller that deletes unlisted objects, or reports
    /// that all are present, has to know of them.
    pub unusable: Vec<Unusable>,
}

impl Page {
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.folders.len() + self.unusable.len()
    }
}

/// An item of a bucket that has no usable key: `..` in an object's key, a file name that is not UTF-8, a link that
/// leads out of the directory, a device.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// Its name, as far as it can be written in UTF-8.
    pub name: String,
    /// Why it cannot be used.
    pub why: Failure,
}

/// The media type of an object by its name, so that browsers show it. `None` lets the server choose its default.
pub(crate) fn content_type(key: &Key) -> Option<String> {
    mime_guess::from_path(key.base_name()).first_raw().filter(|_| !key.is_folder()).map(str::to_owned)
}

/// SHA-256 of bytes in memory, as lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
