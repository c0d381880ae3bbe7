//! What a submission's names may reach: its own group, and those other buckets that the watcher was told of.

use std::fmt;

use ncaas_core::bucket::{Key, S3Address};

/// From where a submission is read, and what it may therefore name.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// The bucket, as records have it.
    bucket: String,
    group: String,
    /// Other buckets that `s3://` paths may lie in, by their names; none for any.
    others: Option<Vec<String>>,
}

impl Reach {
    pub(crate) fn new(bucket: &str, group: &str, others: &[String]) -> Self {
        Reach { bucket: bucket.to_owned(), group: group.to_owned(), others: Some(others.to_vec()) }
    }

    /// For reading what was let through, or refused, before: any bucket will do.
    pub(crate) fn everywhere(bucket: &str, group: &str) -> Self {
        Reach { bucket: bucket.to_owned(), group: group.to_owned(), others: None }
    }

    fn includes(&self, bucket: &str) -> bool {
        self.others.as_ref().is_none_or(|others| others.iter().any(|other| other == bucket))
    }

    fn is_own(&self, bucket: &str) -> bool {
        self.bucket.strip_prefix("s3://") == Some(bucket)
    }

    /// Whether datasets and config may come from another bucket.
    pub(super) fn may_read(&self, bucket: &str) -> Result<(), String> {
        if self.is_own(bucket) || self.includes(bucket) {
            return Ok(());
        }
        Err(format!(
            "`dataname` and `configname` may not lie in the bucket `{bucket}`: `--allow-bypass {bucket}` would allow it"
        ))
    }

    /// Whether results may go to that `s3://bucket/path`.
    pub(super) fn may_write(&self, path: &str) -> Result<(), String> {
        let address = s3_address(path)?.ok_or_else(|| format!("`{path}` does not begin with `s3://`"))?;
        let below = address.key.trim_end_matches('/');
        Key::new(below).map_err(|failure| failure.to_string())?;
        if self.is_own(&address.bucket) {
            return self.own_group(below, path);
        }
        if self.includes(&address.bucket) {
            return Ok(());
        }
        let bucket = address.bucket;
        Err(format!("`{path}` lies in another bucket: `--allow-bypass {bucket}` would allow it"))
    }

    /// Refuses a key of this bucket that is not the group's own.
    fn own_group(&self, key: &str, name: &str) -> Result<(), String> {
        let group = &self.group;
        match key.split_once('/') {
            Some((first, rest)) if first == group && !rest.is_empty() => Ok(()),
            _ if key == group || key.strip_suffix('/') == Some(group) => {
                Err(format!("`{name}` is the whole group, not a file or folder in it"))
            }
            _ => Err(format!("`{name}` is not one of the group `{group}`'s keys")),
        }
    }
}

/// A dataset or a config as a submission names it, checked: a key of the own group, or an `s3://` path.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    text: String,
    /// The key in its bucket.
    key: Key,
    /// The bucket of an `s3://` path.
    bucket: Option<String>,
}

impl Name {
    /// Checks a name; the reason where it is none.
    pub(super) fn read(text: String, reach: &Reach) -> Result<Self, String> {
        let (key, bucket) = match s3_address(&text)? {
            Some(address) => (address.key, Some(address.bucket)),
            None => (text.clone(), None),
        };
        let key = Key::new(key).map_err(|failure| failure.to_string())?;
        if bucket.as_ref().is_none_or(|bucket| reach.is_own(bucket)) {
            reach.own_group(key.as_str(), &text)?;
        }
        Ok(Name { text, key, bucket })
    }

    /// The name as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The key in its bucket.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The bucket of an `s3://` path.
    pub(crate) fn other_bucket(&self) -> Option<&str> {
        self.bucket.as_deref()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

fn s3_address(text: &str) -> Result<Option<S3Address>, String> {
    S3Address::parse(text).map_err(|failure| failure.to_string())
}
