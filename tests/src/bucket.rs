//! Buckets for tests: one in a directory, one on LocalStack, filled and read behind the tools' backs.

use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier, StorageClass};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::unique;

/// A bucket of a test's own.
#[derive(Debug)]
pub enum TestBucket {
    /// A directory whose base name is the analysis's.
    Directory {
        /// Removed with the bucket.
        parent: TempDir,
        /// The bucket itself.
        root: PathBuf,
    },
    /// A bucket on the server at `AWS_ENDPOINT_URL`.
    S3 {
        /// Its name, which is the analysis's.
        name: String,
        /// Talks to the server without any of our code.
        client: Client,
        /// Drives the client.
        runtime: Runtime,
    },
}

impl TestBucket {
    /// An empty bucket in a directory, named `name`.
    pub fn directory(name: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(&root).unwrap();
        TestBucket::Directory { parent, root }
    }

    /// An empty bucket on LocalStack, whose name begins with `name`.
    ///
    /// # Panics
    /// When no server answers at `AWS_ENDPOINT_URL` (`make test` starts one).
    pub fn s3(name: &str) -> Self {
        let endpoint =
            std::env::var("AWS_ENDPOINT_URL").expect("AWS_ENDPOINT_URL names LocalStack: `make test` sets it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .endpoint_url(endpoint)
            .force_path_style(true)
            .build();
        let client = Client::from_conf(config);
        let name = unique(name);
        runtime.block_on(client.create_bucket().bucket(&name).send()).unwrap();
        TestBucket::S3 { name, client, runtime }
    }

    /// The address for the tools: `s3://name` or an absolute path.
    pub fn address(&self) -> String {
        match self {
            TestBucket::Directory { root, .. } => root.to_str().unwrap().to_owned(),
            TestBucket::S3 { name, .. } => format!("s3://{name}"),
        }
    }

    /// The analysis: the bucket's name.
    pub fn analysis(&self) -> &str {
        match self {
            TestBucket::Directory { root, .. } => root.file_name().unwrap().to_str().unwrap(),
            TestBucket::S3 { name, .. } => name,
        }
    }

    /// Puts an object.
    pub fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        match self {
            TestBucket::Directory { root, .. } => {
                let path = root.join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            TestBucket::S3 { name, client, runtime } => {
                let body = content.as_ref().to_vec().into();
                runtime.block_on(client.put_object().bucket(name).key(key).body(body).send()).unwrap();
            }
        }
    }

    /// Puts an object into an archive of S3, from which it cannot be read.
    ///
    /// # Panics
    /// When the bucket is a directory.
    pub fn put_archived(&self, key: &str) {
        let TestBucket::S3 { name, client, runtime } = self else { panic!("a directory has no archive") };
        let put = client.put_object().bucket(name).key(key).storage_class(StorageClass::Glacier);
        runtime.block_on(put.body(b"n: 1\n".to_vec().into()).send()).unwrap();
    }

    /// An object's content; none where there is no such object.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            TestBucket::Directory { root, .. } => std::fs::read(root.join(key)).ok(),
            TestBucket::S3 { name, client, runtime } => runtime.block_on(async {
                let object = client.get_object().bucket(name).key(key).send().await.ok()?;
                Some(object.body.collect().await.ok()?.into_bytes().to_vec())
            }),
        }
    }

    /// An object's content as text.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn text(&self, key: &str) -> String {
        let content = self.get(key).unwrap_or_else(|| panic!("no `{key}` in the bucket, only {:#?}", self.keys()));
        String::from_utf8_lossy(&content).into_owned()
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = match self {
            TestBucket::Directory { root, .. } => files_below(root),
            TestBucket::S3 { name, client, runtime } => runtime.block_on(async {
                let mut keys = Vec::new();
                // XML cannot represent every character of a key.
                let list = client.list_objects_v2().bucket(name).encoding_type(EncodingType::Url);
                let mut pages = list.into_paginator().send();
                while let Some(page) = pages.next().await {
                    keys.extend(page.unwrap().contents().iter().filter_map(|object| object.key().map(url_decoded)));
                }
                keys
            }),
        };
        keys.sort();
        keys
    }
}

impl Drop for TestBucket {
    fn drop(&mut self) {
        let keys = if let TestBucket::S3 { .. } = self { self.keys() } else { Vec::new() };
        if let TestBucket::S3 { name, client, runtime } = self {
            runtime.block_on(async {
                for keys in keys.chunks(1000) {
                    let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
                    let all = Delete::builder().set_objects(Some(objects.collect())).quiet(true).build().unwrap();
                    drop(client.delete_objects().bucket(&*name).delete(all).send().await);
                }
                drop(client.delete_bucket().bucket(&*name).send().await);
            });
        }
    }
}

/// The text for one in which S3 has encoded characters as `%41`, and spaces as `+`.
fn url_decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Paths of all files below a folder, relative to it, sorted.
pub fn files_below(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, into: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), root, into);
            } else {
                into.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort();
    files
}
