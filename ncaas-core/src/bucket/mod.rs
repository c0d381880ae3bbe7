//! Buckets: `s3://name` on a server, or a directory that is laid out the same way, behind one type.
//!
//! Both kinds keep the same promises. An object appears whole or not at all. Listings come in the order of the keys'
//! bytes, a page at a time, and memory does not grow with the number of objects. If many processes create the same key
//! with [`Bucket::put_new`], exactly one succeeds; [`Bucket::put_if`] overwrites only the content that its caller has
//! read. Nothing outside the bucket is read or written, whatever its keys and links are.
//!
//! The requests are about small objects and listings. Files are transferred by [`crate::transfer`].

mod address;
mod dir;
mod failure;
mod key;
mod listing;
mod object;
mod open_buckets;
mod probe;
mod retry;
mod s3;
mod similar_names;
mod storage;
mod update;

pub use address::{GroupAddress, S3Address};
pub(crate) use dir::DirBucket;
pub use key::{Key, url_decoded};
pub use listing::Listing;
pub(crate) use object::content_type;
pub use object::{ObjectInfo, Page, Unusable, Version};
pub use open_buckets::Buckets;
pub use retry::PatienceArgs;
pub(crate) use retry::Retries;
pub use s3::aws_settings;
pub(crate) use s3::{checksum_metadata, modified_metadata, parse_modified, unquoted_etag};
pub use storage::Bucket;
