//! A bucket on S3, or on a server that speaks its protocol.

mod client;
mod condition;
mod connect;
mod failure;
mod list;
mod metadata;
mod multipart;
mod response_status;

pub(super) use client::S3Bucket;
pub use connect::aws_settings;
pub(super) use list::S3Listing;
pub(crate) use metadata::{checksum_metadata, modified_metadata, parse_modified, unquoted_etag};
