//! Addresses of buckets on a command line, in a submit file and in a record.

use std::path::Path;

use crate::failure::{Failure, Kind, Result};

use super::key::{Key, quoted};

const SCHEME: &str = "s3://";

/// A group in a bucket, as `BUCKET/GROUP` on the command line: `s3://pca/lab`, or `dir/lab` for a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupAddress {
    /// The bucket, as [`super::Bucket::open`] takes it.
    pub bucket: String,
    /// The group: one folder's name, without `/`.
    pub group: String,
}

impl GroupAddress {
    /// Splits `BUCKET/GROUP`. Nothing is opened.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it names no group, or more than one.
    pub fn parse(text: &str) -> Result<GroupAddress> {
        let no_group = || {
            Failure::new(Kind::Usage, format!("{} does not name a group", quoted(text)))
                .hint("write BUCKET/GROUP, for example `s3://pca/lab` or `./bucket/lab`")
        };
        let (bucket, group) = match S3Address::parse(text)? {
            Some(S3Address { bucket, key }) => (format!("{SCHEME}{bucket}"), key),
            None => {
                let path = text.trim_end_matches('/');
                let (bucket, group) = path.rsplit_once('/').ok_or_else(no_group)?;
                (if bucket.is_empty() { "/" } else { bucket }.to_owned(), group.to_owned())
            }
        };
        let group = group.trim_end_matches('/');
        if group.is_empty() {
            return Err(no_group());
        }
        let group = Key::new(group)?;
        if group.as_str().contains('/') {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} has a path below the group: use `BUCKET/GROUP`", quoted(text)),
            ));
        }
        Ok(GroupAddress { bucket, group: group.as_str().to_owned() })
    }
}

/// An address on S3: `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    /// The bucket's name, without scheme.
    pub bucket: String,
    /// The text after the bucket: a key or the beginning of one, not checked yet, perhaps empty.
    pub key: String,
}

impl S3Address {
    /// Splits `s3://bucket/key`; `None` if it does not begin with `s3://`.
    ///
    /// # Errors
    /// [`Kind::Usage`] if no valid bucket name follows `s3://`.
    pub fn parse(text: &str) -> Result<Option<S3Address>> {
        let Some(rest) = text.strip_prefix(SCHEME) else { return Ok(None) };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        // Servers have stricter rules; this check keeps out characters that would change the meaning of a URL.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || bucket.len() > 255 || bucket.starts_with('.') || !bucket.chars().all(plain) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} is not a valid address: {} cannot be a bucket's name", quoted(text), quoted(bucket)),
            )
            .hint("a bucket's name consists of letters, digits, `.`, `-` and `_`: `s3://name`"));
        }
        Ok(Some(S3Address { bucket: bucket.to_owned(), key: key.to_owned() }))
    }
}

/// The address and the name of a directory that is a bucket: its absolute path without links, and its base name, which
/// is the analysis's name.
pub(super) fn directory_address(path: &Path) -> Result<(String, String)> {
    let fault = |why: &str| {
        Failure::new(Kind::Usage, format!("`{}` cannot be a bucket: {why}", path.display()))
            .hint("the directory's own name is the analysis's name, as in `./pca`")
    };
    let absolute = path.to_str().ok_or_else(|| fault("its path is not UTF-8"))?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| fault("it has no name"))?;
    Ok((absolute.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let target = GroupAddress::parse(text).unwrap();
        (target.bucket, target.group)
    }

    #[test]
    fn a_target_is_a_bucket_and_a_group() {
        assert_eq!(parsed("s3://pca/lab"), ("s3://pca".into(), "lab".into()));
        assert_eq!(parsed("s3://pca/lab/"), ("s3://pca".into(), "lab".into()));
        assert_eq!(parsed("dir/lab"), ("dir".into(), "lab".into()));
        assert_eq!(parsed("./lab"), (".".into(), "lab".into()));
        assert_eq!(parsed("/data/pca/lab/"), ("/data/pca".into(), "lab".into()));
    }

    #[test]
    fn a_target_without_a_group_or_with_more_is_refused() {
        for text in ["s3://pca", "s3://pca/", "pca", "s3://pca/lab/inputs", "s3:///lab", "s3://a b/lab", ""] {
            assert_eq!(GroupAddress::parse(text).unwrap_err().kind, Kind::Usage, "{text:?}");
        }
        assert_eq!(GroupAddress::parse("dir/..").unwrap_err().kind, Kind::BadKey);
    }

    #[test]
    fn an_s3_address_keeps_its_key_as_it_stands() {
        let address = S3Address::parse("s3://pca/lab/a b/").unwrap().unwrap();
        assert_eq!((address.bucket.as_str(), address.key.as_str()), ("pca", "lab/a b/"));
        assert_eq!(S3Address::parse("lab/inputs").unwrap(), None);
    }
}
