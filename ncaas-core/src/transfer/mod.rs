//! Transfers of files between this machine and a bucket: only changed content, resumed after an interruption, and
//! checked.
//!
//! Two files are the same if their content is the same. A local file's content is known by its checksum, which an index
//! keeps as long as the file's size, times and inode stay; an object's by the SHA-256 and CRC-64/NVME that were stored
//! with it, or by its ETag.
//!
//! Why not the `aws-sdk-s3-transfer-manager` crate (0.3.1, compared by its source): it cannot resume an upload or a
//! download in another process; it neither stores nor checks a SHA-256 of the whole, nor notices a source file that
//! changes; it has no conditional range requests and no way around servers that answer slowly, send the whole object
//! for a range, or name the answer's XML element differently; it writes to paths, and a container can replace those by
//! links. It starts a runtime of several threads, sizes its memory by the machine, and brings a second TLS library
//! (aws-lc, built with CMake) and DNS resolver into every tool. Its README calls it a preview that is not for
//! production.

mod changed_files;
mod checksums;
mod comparison;
mod download;
mod index;
mod memory;
mod object_reader;
mod part_size;
mod pieces;
mod stored_metadata;
mod unfinished_uploads;
mod upload;
mod upload_source;

pub use changed_files::{Transfer, TransferOutcome, Transferred};
pub use checksums::{Sha256Sum, file_sha256, open_file_sha256, parse_sha256};
pub use download::{download_into, object_sha256};
pub use unfinished_uploads::{StoredPart, UnfinishedUpload, list_unfinished_uploads};
