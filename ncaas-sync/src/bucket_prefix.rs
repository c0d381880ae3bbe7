//! A bucket and a prefix in it, as `BUCKET/PREFIX` on the command line.

use std::path::{Component, Path};

use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::group::check_new_folder;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketPrefix {
    /// The address that [`ncaas_core::bucket::Bucket::open`] accepts.
    pub(crate) bucket: String,
    /// Empty, or ends in `/`.
    pub(crate) prefix: String,
}

impl BucketPrefix {
    /// Parses `s3://bucket/prefix` or a path. The existing part of a path is the bucket, the rest is the prefix.
    pub(crate) fn parse(text: &str) -> Result<BucketPrefix> {
        if let Some(S3Address { bucket, key }) = S3Address::parse(text)? {
            let prefix = key.trim_end_matches('/');
            let prefix = if prefix.is_empty() { String::new() } else { folder_key(prefix)? };
            return Ok(BucketPrefix { bucket: format!("s3://{bucket}"), prefix });
        }
        let path = files::absolute(Path::new(text))?;
        let existing = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let existing = if existing == path { path.parent().unwrap_or(existing) } else { existing };
        let below = path.strip_prefix(existing).unwrap_or(Path::new(""));
        let parts: Option<Vec<&str>> = below
            .components()
            .map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
            .collect();
        let parts = parts.ok_or_else(|| {
            Failure::new(Kind::Usage, format!("`{text}` is not a valid prefix: its path is not plain UTF-8"))
        })?;
        let prefix = if parts.is_empty() { String::new() } else { folder_key(&parts.join("/"))? };
        let bucket = std::fs::canonicalize(existing).doing("open", existing)?;
        Ok(BucketPrefix { bucket: bucket.to_string_lossy().into_owned(), prefix })
    }

    /// The same for the counterpart of a folder. Swapped arguments are refused.
    pub(crate) fn parse_with_folder(text: &str, folder: &Path) -> Result<BucketPrefix> {
        let shown = folder.to_string_lossy();
        match S3Address::parse(&shown) {
            Ok(None) => Self::parse(text),
            _ => Err(Failure::new(Kind::Usage, format!("`{shown}` is not a folder on this machine"))
                .hint("swap the two arguments")),
        }
    }

    /// Opens the bucket. A new prefix that looks like a misspelt group or bucket is refused.
    pub(crate) async fn open(&self) -> Result<Bucket> {
        let bucket = Bucket::open(&self.bucket).await?;
        check_new_folder(&bucket, self.prefix.split('/').next().unwrap_or_default()).await?;
        Ok(bucket)
    }
}

fn folder_key(prefix: &str) -> Result<String> {
    Ok(Key::new(format!("{prefix}/"))?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        let parse = |text: &str| BucketPrefix::parse(text).unwrap();
        assert_eq!(parse("s3://b"), BucketPrefix { bucket: "s3://b".into(), prefix: String::new() });
        assert_eq!(parse("s3://b/a/b/"), BucketPrefix { bucket: "s3://b".into(), prefix: "a/b/".into() });
        assert!(BucketPrefix::parse("s3://b/../x").is_err());
    }

    #[test]
    fn the_existing_part_of_a_path_is_the_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let parsed = BucketPrefix::parse(root.join("new/sub").to_str().unwrap()).unwrap();
        assert_eq!(parsed, BucketPrefix { bucket: root.to_str().unwrap().into(), prefix: "new/sub/".into() });
    }
}
