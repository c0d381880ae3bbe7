//! The objects that a submission may name: those of its own group, and those of other buckets that the watcher allows.

use std::fmt;

use ncaas_core::bucket::{Key, S3Address};
use ncaas_core::layout::{LOGS, RESULTS, SUBMISSIONS};

/// The bucket and group of a submission, and so the objects that it may name.
#[derive(Debug, Clone)]
pub(crate) struct AllowedKeys {
    /// The bucket's address, as in records.
    bucket: String,
    group: String,
    /// Names of the other buckets that `s3://` paths may name; none for any bucket.
    others: Option<Vec<String>>,
}

impl AllowedKeys {
    pub(crate) fn new(bucket: &str, group: &str, others: &[String]) -> Self {
        AllowedKeys { bucket: bucket.to_owned(), group: group.to_owned(), others: Some(others.to_vec()) }
    }

    /// For reading a submission that was accepted or refused before: any bucket is allowed.
    pub(crate) fn everywhere(bucket: &str, group: &str) -> Self {
        AllowedKeys { bucket: bucket.to_owned(), group: group.to_owned(), others: None }
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
            "`dataname` and `configname` must not be in the bucket `{bucket}`: `--allow-bypass {bucket}` allows it"
        ))
    }

    /// Whether results may go to that `s3://bucket/path`.
    pub(super) fn may_write(&self, path: &str) -> Result<(), String> {
        let address = s3_address(path)?.ok_or_else(|| format!("`{path}` does not begin with `s3://`"))?;
        let below = address.key.trim_end_matches('/');
        Key::new(below).map_err(|failure| failure.to_string())?;
        if self.is_own(&address.bucket) {
            return self.check_group(below, path, &[SUBMISSIONS, LOGS]);
        }
        if self.includes(&address.bucket) {
            return Ok(());
        }
        let bucket = address.bucket;
        Err(format!("`{path}` is in another bucket: `--allow-bypass {bucket}` allows it"))
    }

    /// Refuses a key of this bucket that is not in the group, or is in one of its reserved folders.
    fn check_group(&self, key: &str, name: &str, reserved: &[&str]) -> Result<(), String> {
        let group = &self.group;
        match key.split_once('/') {
            Some((first, rest)) if first == group && !rest.is_empty() => {
                let folder = rest.split('/').next().unwrap_or_default();
                if reserved.contains(&folder) {
                    return Err(format!("`{name}` is in the folder `{group}/{folder}/`, which the tools write"));
                }
                Ok(())
            }
            _ if key == group || key.strip_suffix('/') == Some(group) => {
                Err(format!("`{name}` is the whole group, not a file or folder in it"))
            }
            _ => Err(format!("`{name}` is not a key of the group `{group}`")),
        }
    }
}

/// The name of a dataset or config in a submission, checked: a key of the group, or an `s3://` path.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    text: String,
    key: Key,
    /// The bucket of an `s3://` path.
    bucket: Option<String>,
}

impl Name {
    /// Checks a name. The error is the reason for a refusal. What a job wrote is not a dataset: a record or log in
    /// `results/` would be taken for the tools' own when it is downloaded.
    pub(super) fn parse(text: String, reach: &AllowedKeys) -> Result<Self, String> {
        let (key, bucket) = match s3_address(&text)? {
            Some(address) => (address.key, Some(address.bucket)),
            None => (text.clone(), None),
        };
        let key = Key::new(key).map_err(|failure| failure.to_string())?;
        if bucket.as_ref().is_none_or(|bucket| reach.is_own(bucket)) {
            reach.check_group(key.as_str(), &text, &[RESULTS, LOGS, SUBMISSIONS])?;
        }
        Ok(Name { text, key, bucket })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

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
