//! A place in a bucket, as `BUCKET/PREFIX` on the command line.

use std::path::{Component, Path};

use ncaas_core::bucket::{Key, S3Address};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;

/// A bucket, and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// As [`ncaas_core::bucket::Bucket::open`] takes it.
    pub(crate) bucket: String,
    /// Empty, or ends in `/`.
    pub(crate) prefix: String,
}

impl Place {
    /// `s3://bucket/prefix`; or a path of this machine, of which the folder that is there is the bucket as far as it goes.
    pub(crate) fn parse(text: &str) -> Result<Place> {
        if let Some(S3Address { bucket, key }) = S3Address::parse(text)? {
            let prefix = key.trim_end_matches('/');
            let prefix = if prefix.is_empty() { String::new() } else { folder(prefix)? };
            return Ok(Place { bucket: format!("s3://{bucket}"), prefix });
        }
        let path = files::absolute(Path::new(text))?;
        let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let there = if there == path { path.parent().unwrap_or(there) } else { there };
        let below = path.strip_prefix(there).unwrap_or(Path::new(""));
        let parts: Option<Vec<&str>> = below
            .components()
            .map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
            .collect();
        let parts = parts.ok_or_else(|| {
            Failure::new(Kind::Usage, format!("`{text}` is no place in a bucket: its path is not plain UTF-8"))
        })?;
        let prefix = if parts.is_empty() { String::new() } else { folder(&parts.join("/"))? };
        let bucket = std::fs::canonicalize(there).doing("open", there)?;
        Ok(Place { bucket: bucket.to_string_lossy().into_owned(), prefix })
    }
}

fn folder(prefix: &str) -> Result<String> {
    Ok(Key::new(format!("{prefix}/"))?.as_str().to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot make its folder has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        let place = |text: &str| Place::parse(text).unwrap();
        assert_eq!(place("s3://b"), Place { bucket: "s3://b".into(), prefix: String::new() });
        assert_eq!(place("s3://b/a/b/"), Place { bucket: "s3://b".into(), prefix: "a/b/".into() });
        assert!(Place::parse("s3://b/../x").is_err());
    }

    #[test]
    fn of_a_path_what_is_there_is_the_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let place = Place::parse(root.join("new/sub").to_str().unwrap()).unwrap();
        assert_eq!(place, Place { bucket: root.to_str().unwrap().into(), prefix: "new/sub/".into() });
    }
}
