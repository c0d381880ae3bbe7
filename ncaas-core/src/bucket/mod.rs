//! Buckets: `s3://name` on a server, or a directory that is laid out the same way, behind one type.
//!
//! Both kinds keep the same promises. An object appears whole or not at all. Listings come in the order of the keys'
//! bytes, a page at a time, and memory does not grow with the number of objects. Of many who create the same key with
//! [`Bucket::put_new`] exactly one succeeds; [`Bucket::put_if`] writes only over the content that its caller has read.
//! Nothing outside the bucket is read or written, whatever its keys and links say.
//!
//! Resumable transfers need more than one type can give to both: see [`Bucket::as_s3`].

mod address;
mod dir;
mod key;
mod listing;
mod object;
mod probe;
mod s3;
mod source;

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Weak};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::failure::{Failure, IoContext, Kind, Result};

pub use address::{S3Address, Target};
pub use key::{Key, url_decoded};
pub use listing::Listing;
pub use object::{Content, Entry, Page, Unusable, Version};
pub use s3::{aws_settings, sums_metadata};

use dir::DirBucket;
use s3::S3Bucket;
use source::Source;

/// How many objects a page of a listing has at most: what S3 gives at once.
const PAGE: usize = 1000;

/// A bucket that is there. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Bucket(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Dir(DirBucket),
    S3(S3Bucket),
}

impl Bucket {
    /// Opens `s3://name` or the path of a directory, and makes sure that it is there.
    ///
    /// Fails with `bucket-not-found`, `bucket-unreachable` or `access-denied`.
    pub async fn open(address: &str) -> Result<Bucket> {
        match s3_name(address)? {
            Some(name) => S3Bucket::open(&name).await.map(Backend::S3).map(Bucket),
            None => DirBucket::open(Path::new(address)).map(Backend::Dir).map(Bucket),
        }
    }

    /// Opens a bucket and makes it if it is not there.
    pub async fn create(address: &str) -> Result<Bucket> {
        match s3_name(address)? {
            Some(name) => S3Bucket::create(&name).await.map(Backend::S3).map(Bucket),
            None => DirBucket::create(Path::new(address)).map(Backend::Dir).map(Bucket),
        }
    }

    /// Opens a bucket on S3 with a client that has settings of its own, and makes sure that it is there.
    pub async fn with_client(client: aws_sdk_s3::Client, name: &str) -> Result<Bucket> {
        S3Bucket::with_client(client, name).await.map(Backend::S3).map(Bucket)
    }

    /// Takes `BUCKET/GROUP` apart: `s3://pca/lab`, or `dir/lab`.
    pub fn parse_target(text: &str) -> Result<Target> {
        Target::parse(text)
    }

    /// The analysis: the bucket's name, or the directory's own name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Backend::Dir(dir) => &dir.name,
            Backend::S3(s3) => &s3.name,
        }
    }

    /// What a record carries in `job.bucket`: `s3://name`, or the directory's absolute path without links.
    pub fn address(&self) -> &str {
        match &self.0 {
            Backend::Dir(dir) => &dir.address,
            Backend::S3(s3) => &s3.address,
        }
    }

    /// The S3 client and the bucket's name, for what only S3 has.
    pub fn as_s3(&self) -> Option<(&aws_sdk_s3::Client, &str)> {
        match &self.0 {
            Backend::Dir(_) => None,
            Backend::S3(s3) => Some((&s3.client, &s3.name)),
        }
    }

    /// Begins an upload in parts on S3, which [`Bucket::as_s3`] goes on with: its id. `sums` is what
    /// [`sums_metadata`] makes of the content that is to come.
    pub async fn begin_parts(&self, key: &Key, sums: HashMap<String, String>) -> Result<String> {
        match &self.0 {
            Backend::Dir(dir) => {
                Err(Failure::new(Kind::BucketError, format!("`{}` is a directory and takes no parts", dir.address)))
            }
            Backend::S3(s3) => s3.begin_parts(key, sums).await,
        }
    }

    /// What an error of that client is, in the words of all the others. `key` is none for the bucket as a whole.
    pub fn s3_failure<E>(&self, what: &str, key: Option<&Key>, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match &self.0 {
            Backend::Dir(dir) => Failure::new(Kind::BucketError, format!("cannot {what} `{}`: {error}", dir.address)),
            Backend::S3(s3) => s3.failure(what, key, error),
        }
    }

    /// The objects whose keys begin with `prefix`, those after `start_after` if given, in the order of their bytes.
    pub fn list(&self, prefix: &str, start_after: Option<&str>) -> Listing {
        Listing::new(self, prefix, start_after, false)
    }

    /// As [`Bucket::list`], but what lies deeper than the next `/` after `prefix` is told of as a folder, once.
    ///
    /// `list_folder("")` has the groups as folders, `list_folder("lab/submissions/")` the submit files as entries. Does
    /// not read what lies in the folders.
    pub fn list_folder(&self, prefix: &str, start_after: Option<&str>) -> Listing {
        Listing::new(self, prefix, start_after, true)
    }

    /// Whether there is an object whose key begins with `prefix`. An empty folder counts.
    pub async fn exists_under(&self, prefix: &str) -> Result<bool> {
        match &self.0 {
            Backend::Dir(_) => {
                let mut listing = self.list(prefix, None);
                while let Some(page) = listing.next_page().await? {
                    if !page.entries.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Backend::S3(s3) => s3.exists_under(prefix).await,
        }
    }

    /// What is known of one object, or `None` if there is none. In a directory, a folder's key finds the folder, empty
    /// or not; on S3 only an object of that very name.
    pub async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                blocking(move || dir.head(&key)).await
            }
            Backend::S3(s3) => s3.head(key).await,
        }
    }

    /// The whole content of a small object, and its version for [`Bucket::put_if`].
    ///
    /// Fails with `object-not-found`, and with `too-large` if it is larger than `limit` bytes, of which no more are read.
    pub async fn read(&self, key: &Key, limit: u64) -> Result<(Vec<u8>, Version)> {
        key.must_name_an_object()?;
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                blocking(move || dir.read(&key, limit)).await
            }
            Backend::S3(s3) => s3.read(key, limit).await,
        }
    }

    /// Writes a small object, over what may be there. A folder's key with no content makes an empty folder.
    pub async fn put(&self, key: &Key, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let bytes = bytes.into();
        fits(key, &bytes)?;
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                blocking(move || dir.put(&key, &bytes)).await
            }
            Backend::S3(s3) => s3.put(key, bytes).await,
        }
    }

    /// Writes a small object unless there is one: what it wrote, or `None`. Of many who try at once, exactly one writes.
    pub async fn put_new(&self, key: &Key, bytes: impl Into<Vec<u8>>) -> Result<Option<Version>> {
        let bytes = bytes.into();
        fits(key, &bytes)?;
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                blocking(move || dir.put_new(&key, &bytes)).await
            }
            Backend::S3(s3) => s3.put_new(key, bytes).await,
        }
    }

    /// Writes a small object over the version that the caller has read or written: what it wrote, or `None` if the
    /// object is another by now, or gone.
    pub async fn put_if(&self, key: &Key, bytes: impl Into<Vec<u8>>, version: &Version) -> Result<Option<Version>> {
        key.must_name_an_object()?;
        let bytes = bytes.into();
        match self.0.clone() {
            Backend::Dir(dir) => {
                let (key, version) = (key.clone(), version.clone());
                blocking(move || dir.put_if(&key, &bytes, &version)).await
            }
            Backend::S3(s3) => s3.put_if(key, bytes, version).await,
        }
    }

    /// Removes an object; that there is none is no failure. A folder is removed only if it is empty.
    pub async fn delete(&self, key: &Key) -> Result<()> {
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                blocking(move || dir.delete(&key)).await
            }
            Backend::S3(s3) => s3.delete(key).await,
        }
    }

    /// Stores a file of this machine, of any size, with its SHA-256 where the bucket can keep that.
    ///
    /// Fails with `checksum-mismatch`, and stores nothing, if the file changes meanwhile. Links are followed: who does
    /// not trust `path` opens the file and calls [`Bucket::upload_file`].
    pub async fn upload(&self, path: &Path, key: &Key) -> Result<Content> {
        self.store(Source::open(path)?, key).await
    }

    /// As [`Bucket::upload`], from an open file that stands at its beginning. `path` is for messages only.
    pub async fn upload_file(&self, file: File, path: &Path, key: &Key) -> Result<Content> {
        self.store(Source::of(file, path)?, key).await
    }

    async fn store(&self, source: Source, key: &Key) -> Result<Content> {
        key.must_name_an_object()?;
        match self.0.clone() {
            Backend::Dir(dir) => {
                let key = key.clone();
                long_blocking(move |wanted| dir.store(source, &key, wanted)).await
            }
            Backend::S3(s3) => s3.store(source, key).await,
        }
    }

    /// Brings an object into the file `path`, which gets its name, or its new content, only when all of it is there and
    /// is what the stored SHA-256 says. Its folder must be there; it is this machine's, not the bucket's, to be trusted.
    pub async fn download(&self, key: &Key, path: &Path) -> Result<Content> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = tempfile::Builder::new()
            .prefix(&format!("{}part-", key::RESERVED))
            // As any new file; the process's umask takes away from it.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .doing("make a file in", folder)?;
        let content = self.download_into(key, part.as_file().try_clone().doing("write", path)?, path).await?;
        part.persist(path).map_err(|error| Failure::io("write", path, &error.error))?;
        Ok(content)
    }

    /// As [`Bucket::download`], into an open file, from where it stands. `path` is for messages only.
    pub async fn download_into(&self, key: &Key, file: File, path: &Path) -> Result<Content> {
        key.must_name_an_object()?;
        match self.0.clone() {
            Backend::Dir(dir) => {
                let (key, path) = (key.clone(), path.to_owned());
                long_blocking(move |wanted| dir.fetch(&key, &file, &path, wanted)).await
            }
            Backend::S3(s3) => s3.fetch(key, file, path).await,
        }
    }
}

/// The bucket's name in `s3://name`; `None` for a path.
fn s3_name(address: &str) -> Result<Option<String>> {
    match S3Address::parse(address)? {
        Some(S3Address { bucket, key }) if key.is_empty() => Ok(Some(bucket)),
        Some(_) => Err(Failure::new(Kind::Usage, format!("{} is more than a bucket", key::quoted(address)))
            .hint("a bucket is `s3://name`, without a folder")),
        None => Ok(None),
    }
}

/// Refuses content under a folder's key, which a directory could not hold.
fn fits(key: &Key, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() { Ok(()) } else { key.must_name_an_object() }
}

fn no_object(bucket: &str, key: &Key) -> Failure {
    let subject = key::quoted(&format!("{bucket}/{key}"));
    Failure::new(Kind::ObjectNotFound, format!("cannot read {subject}: there is no such object"))
}

fn too_large(key: &Key, limit: u64) -> Failure {
    let subject = key::quoted(key.as_str());
    Failure::new(Kind::TooLarge, format!("cannot read {subject}: it is larger than {limit} bytes"))
}

fn cut_short(key: &Key, size: u64, read: u64) -> Failure {
    let subject = key::quoted(key.as_str());
    Failure::new(Kind::ChecksumMismatch, format!("cannot read {subject}: it has {size} bytes, but {read} came"))
}

/// As [`blocking`], for what takes as long as a file is large. It is told when nobody waits for it any more, so that a
/// tool that is interrupted neither waits for it nor leaves it half done.
async fn long_blocking<T: Send + 'static>(work: impl FnOnce(&Wanted) -> Result<T> + Send + 'static) -> Result<T> {
    let waiting = Arc::new(());
    let wanted = Wanted(Arc::downgrade(&waiting));
    let done = blocking(move || work(&wanted)).await;
    drop(waiting);
    done
}

/// Whether somebody still waits for the outcome of some work.
struct Wanted(Weak<()>);

impl Wanted {
    fn check(&self) -> Result<()> {
        match self.0.strong_count() {
            0 => Err(Failure::new(Kind::Interrupted, "interrupted while a file was copied")),
            _ => Ok(()),
        }
    }
}

/// Runs what blocks on a thread of its own: the tools have one thread for everything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::new(Kind::Interrupted, "work on a file did not come to its end")),
    }
}
