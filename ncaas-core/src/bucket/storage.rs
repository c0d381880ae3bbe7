//! A bucket of either kind, and the requests about small objects.

use std::collections::HashMap;
use std::path::Path;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::address::S3Address;
use super::dir::DirBucket;
use super::key::{Key, quoted};
use super::object::{ObjectInfo, Version};
use super::s3::S3Bucket;
use crate::failure::{Failure, Kind, Result};

/// An existing bucket. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Bucket(pub(super) Storage);

#[derive(Debug, Clone)]
pub(super) enum Storage {
    Dir(DirBucket),
    S3(S3Bucket),
}

impl Bucket {
    /// Opens `s3://name` or the path of a directory, and checks that it exists.
    ///
    /// # Errors
    /// [`Kind::BucketNotFound`], [`Kind::BucketUnreachable`] or [`Kind::AccessDenied`].
    pub async fn open(address: &str) -> Result<Bucket> {
        match s3_name(address)? {
            Some(name) => S3Bucket::open(&name).await.map(Storage::S3).map(Bucket),
            None => DirBucket::open(Path::new(address)).map(Storage::Dir).map(Bucket),
        }
    }

    /// Opens a bucket, and creates it if it does not exist.
    ///
    /// # Errors
    /// If the bucket cannot be created or opened.
    pub async fn create(address: &str) -> Result<Bucket> {
        match s3_name(address)? {
            Some(name) => S3Bucket::create(&name).await.map(Storage::S3).map(Bucket),
            None => DirBucket::create(Path::new(address)).map(Storage::Dir).map(Bucket),
        }
    }

    /// Opens a bucket on S3 with a client that the caller has configured, and checks that it exists.
    ///
    /// # Errors
    /// Same as [`Bucket::open`].
    pub async fn with_client(client: aws_sdk_s3::Client, name: &str) -> Result<Bucket> {
        S3Bucket::with_client(client, name).await.map(Storage::S3).map(Bucket)
    }

    /// The analysis: the bucket's name, or the directory's own name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Storage::Dir(dir) => &dir.name,
            Storage::S3(s3) => &s3.name,
        }
    }

    /// The address, as `job.bucket` of a record has it: `s3://name`, or the directory's absolute path without links.
    pub fn address(&self) -> &str {
        match &self.0 {
            Storage::Dir(dir) => &dir.address,
            Storage::S3(s3) => &s3.address,
        }
    }

    /// The S3 client and the bucket's name, for requests that only S3 knows. `None` for a directory.
    pub fn as_s3(&self) -> Option<(&aws_sdk_s3::Client, &str)> {
        match &self.0 {
            Storage::Dir(_) => None,
            Storage::S3(s3) => Some((&s3.client, &s3.name)),
        }
    }

    /// The directory, for transfers. `None` for a bucket on S3.
    pub(crate) fn as_directory(&self) -> Option<&DirBucket> {
        match &self.0 {
            Storage::Dir(dir) => Some(dir),
            Storage::S3(_) => None,
        }
    }

    /// Begins a multipart upload on S3 and returns its id. `metadata` is stored with the object.
    pub(crate) async fn begin_multipart_upload(&self, key: &Key, metadata: HashMap<String, String>) -> Result<String> {
        match &self.0 {
            Storage::Dir(dir) => {
                let message = format!("`{}` is a directory and has no multipart uploads", dir.address);
                Err(Failure::new(Kind::BucketError, message))
            }
            Storage::S3(s3) => s3.begin_multipart_upload(key, metadata).await,
        }
    }

    /// The failure for an error of the S3 client. `verb` completes "cannot ... `KEY`"; without a key it is about the
    /// bucket.
    pub(crate) fn s3_failure<E>(&self, verb: &str, key: Option<&Key>, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match &self.0 {
            Storage::Dir(dir) => Failure::new(Kind::BucketError, format!("cannot {verb} `{}`: {error}", dir.address)),
            Storage::S3(s3) => s3.failure(verb, key, error),
        }
    }

    /// Whether a failure is about one object or folder only, so that the rest of the bucket can be worked on: in a
    /// directory also one that this user may not read.
    pub fn is_about_one_object(&self, failure: &Failure) -> bool {
        let is_directory = matches!(self.0, Storage::Dir(_));
        !failure.kind.is_transient() || is_directory && matches!(failure.kind, Kind::AccessDenied | Kind::Io)
    }

    /// Whether there is an object whose key begins with `prefix`. An empty folder counts.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn exists_under(&self, prefix: &str) -> Result<bool> {
        match &self.0 {
            Storage::Dir(_) => {
                let mut listing = self.list(prefix, None);
                while let Some(page) = listing.next_page().await? {
                    if !page.entries.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Storage::S3(s3) => s3.exists_under(prefix).await,
        }
    }

    /// One object's metadata, or `None` if it does not exist. In a directory, a folder's key finds the folder, empty or
    /// not; on S3 only an object of exactly that name.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn head(&self, key: &Key) -> Result<Option<ObjectInfo>> {
        match &self.0 {
            Storage::Dir(dir) => dir.run(key, |dir, key| dir.head(key)).await,
            Storage::S3(s3) => s3.head(key).await,
        }
    }

    /// The whole content of a small object, and its version for [`Bucket::put_if`].
    ///
    /// # Errors
    /// [`Kind::ObjectNotFound`]; [`Kind::TooLarge`] if it is larger than `limit` bytes; no more than `limit` bytes are read.
    pub async fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        key.must_name_an_object()?;
        match &self.0 {
            Storage::Dir(dir) => dir.run(key, move |dir, key| dir.read(key, limit)).await,
            Storage::S3(s3) => s3.read(key, limit).await,
        }
    }

    /// Writes a small object, in place of an existing one. A folder's key with no content creates an empty folder.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn put(&self, key: &Key, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let bytes = bytes.into();
        check_folder_is_empty(key, &bytes)?;
        match &self.0 {
            Storage::Dir(dir) => dir.run(key, move |dir, key| dir.put(key, &bytes)).await,
            Storage::S3(s3) => s3.put(key, bytes).await,
        }
    }

    /// Creates a small object and returns its version, or `None` if it exists. If many try at once, exactly one
    /// succeeds.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn put_new(&self, key: &Key, bytes: impl Into<Vec<u8>>) -> Result<Option<Version>> {
        let bytes = bytes.into();
        check_folder_is_empty(key, &bytes)?;
        match &self.0 {
            Storage::Dir(dir) => dir.run(key, move |dir, key| dir.put_new(key, &bytes)).await,
            Storage::S3(s3) => s3.put_new(key, bytes).await,
        }
    }

    /// Overwrites the version of a small object that the caller has read or written, and returns the new version;
    /// `None` if the object has changed since, or is gone.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn put_if(&self, key: &Key, bytes: impl Into<Vec<u8>>, version: &Version) -> Result<Option<Version>> {
        key.must_name_an_object()?;
        let bytes = bytes.into();
        match &self.0 {
            Storage::Dir(dir) => {
                let version = version.clone();
                dir.run(key, move |dir, key| dir.put_if(key, &bytes, &version)).await
            }
            Storage::S3(s3) => s3.put_if(key, bytes, version).await,
        }
    }

    /// Deletes an object. A missing one is not a failure. A folder is deleted only if it is empty.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn delete(&self, key: &Key) -> Result<()> {
        match &self.0 {
            Storage::Dir(dir) => dir.run(key, DirBucket::delete).await,
            Storage::S3(s3) => s3.delete(key).await,
        }
    }
}

/// The bucket's name in `s3://name`; `None` for a path.
fn s3_name(address: &str) -> Result<Option<String>> {
    match S3Address::parse(address)? {
        Some(S3Address { bucket, key }) if key.is_empty() => Ok(Some(bucket)),
        Some(_) => Err(Failure::new(Kind::Usage, format!("{} has a path after the bucket's name", quoted(address)))
            .hint("a bucket is `s3://name`, without a folder")),
        None => Ok(None),
    }
}

/// Refuses content under a folder's key, which a directory cannot hold.
fn check_folder_is_empty(key: &Key, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() { Ok(()) } else { key.must_name_an_object() }
}
