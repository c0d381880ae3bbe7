//! Uploads of local files and folders into a group's `inputs/` and `configs/`.

use std::path::{Path, PathBuf};

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::folder::Folder;
use ncaas_core::quantity::format_count;
use ncaas_core::suggestion::suggest_file;
use ncaas_core::tool::Tool;
use ncaas_core::transfer::Transfer;

/// How many files are compared or uploaded at once.
const AT_ONCE: usize = 8;

/// A dataset or the config of a submission.
#[derive(Debug)]
pub(super) struct InputSource {
    /// Its name in the submit file.
    name: String,
    /// The files to upload for it; none if it is in the bucket.
    files: Vec<(PathBuf, Key)>,
}

impl InputSource {
    /// Its key or `s3://` path, for the submit file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The group to upload to.
pub(super) struct Uploader<'a> {
    tool: Tool,
    bucket: &'a Bucket,
    group: &'a str,
    force: bool,
}

impl<'a> Uploader<'a> {
    pub(super) fn new(tool: Tool, bucket: &'a Bucket, group: &'a str, force: bool) -> Self {
        Uploader { tool, bucket, group, force }
    }

    /// Finds what a name on the command line means: a local file or folder, otherwise a key. Reads no content.
    pub(super) fn find_source(&self, name: &str, folder: &str) -> Result<InputSource> {
        let path = Path::new(name);
        if name.starts_with("s3://") || !path.exists() {
            return self.key_in_bucket(name);
        }
        let named = path_of_name(path).doing("find", path)?;
        let real = path.canonicalize().doing("find", path)?;
        if let Some(name) = [&named, &real].into_iter().find_map(|path| self.key_of_file_in_bucket(path)) {
            return Ok(InputSource { name, files: Vec::new() });
        }
        let base = named.file_name().and_then(|base| base.to_str()).ok_or_else(|| unnameable(path))?;
        let key = Key::new(format!("{}/{folder}/{base}", self.group))?;
        if path.is_dir() {
            let files = files_below(path, &key)?;
            return Ok(InputSource { name: format!("{key}/"), files });
        }
        Ok(InputSource { name: key.as_str().to_owned(), files: vec![(path.to_owned(), key)] })
    }

    fn key_in_bucket(&self, name: &str) -> Result<InputSource> {
        let is_key =
            name.starts_with("s3://") || name.strip_prefix(self.group).is_some_and(|rest| rest.starts_with('/'));
        if is_key {
            return Ok(InputSource { name: name.to_owned(), files: Vec::new() });
        }
        let failure =
            Failure::new(Kind::FileNotFound, format!("`{name}` is neither a local file nor a key of the group"))
                .hint(format!("a key begins with the group: `{}/inputs/...`", self.group));
        Err(suggest_file(failure, Path::new(name)))
    }

    /// The key of a file that is already in the group's folder of a directory bucket.
    fn key_of_file_in_bucket(&self, path: &Path) -> Option<String> {
        let key = path.strip_prefix(self.bucket.address()).ok()?.to_str()?;
        let in_group = key.strip_prefix(self.group).is_some_and(|rest| rest.starts_with('/'));
        in_group.then(|| if path.is_dir() { format!("{key}/") } else { key.to_owned() })
    }

    /// Uploads the files that the bucket does not have.
    pub(super) async fn upload(&self, source: &InputSource) -> Result<()> {
        use futures_util::{StreamExt, TryStreamExt, stream};
        stream::iter(&source.files)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, async |(path, key)| self.upload_file(path, key).await)
            .await?;
        if source.files.len() > 1 {
            let files = format_count(source.files.len(), "file");
            self.tool.note(&format!("`{}` is in the bucket: {files}", source.name));
        }
        Ok(())
    }

    async fn upload_file(&self, path: &Path, key: &Key) -> Result<()> {
        // Links are followed: the user named the file.
        let real = path.canonicalize().doing("read", path)?;
        let (Some(folder), Some(name)) = (real.parent(), real.file_name().map(Path::new)) else {
            return Err(unnameable(path));
        };
        let transfer = Transfer::without_index(self.bucket.clone(), Folder::open(folder)?);
        let existing = self.bucket.head(key).await?;
        if let Some(existing) = &existing {
            if transfer.find_unchanged(name, existing, None).await?.is_some() {
                return Ok(());
            }
            if !self.force {
                return Err(Failure::new(
                    Kind::NameInUse,
                    format!("`{key}` exists in the bucket with other content than `{}`", path.display()),
                )
                .hint("`--force` overwrites it; jobs that have not started yet then use the new file"));
            }
        }
        transfer.upload_if_changed(name, key, None, None, None).await.map(drop)
    }
}

/// The absolute path of a file or folder under the name that it is given by. A link keeps its name: that of its target
/// says nothing in the trees of git-annex.
fn path_of_name(path: &Path) -> std::io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            Ok(folder.canonicalize()?.join(name))
        }
        // `.`, or a path that ends in `..`.
        _ => path.canonicalize(),
    }
}

fn files_below(folder: &Path, key: &Key) -> Result<Vec<(PathBuf, Key)>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), key.clone())];
    while let Some((folder, key)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).doing("read", &folder)? {
            let path = entry.doing("read", &folder)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| unnameable(&path))?;
            let key = key.join(name)?;
            // A link counts as its target; a link to a folder could lead in a circle.
            match std::fs::symlink_metadata(&path).doing("read", &path)? {
                metadata if metadata.is_dir() => folders.push((path, key)),
                _ if path.is_file() => files.push((path, key)),
                _ => {
                    return Err(Failure::new(
                        Kind::UnsafePath,
                        format!("`{}` is neither a regular file nor a folder", path.display()),
                    ));
                }
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::new(Kind::FileNotFound, format!("the folder `{}` has no files", folder.display())));
    }
    files.sort();
    Ok(files)
}

/// Refuses two local files that would get the same key.
pub(super) fn check_distinct<'p>(sources: impl Iterator<Item = &'p InputSource>) -> Result<()> {
    let mut keys: Vec<(&Key, &Path)> =
        sources.flat_map(|source| &source.files).map(|(path, key)| (key, path.as_path())).collect();
    keys.sort();
    keys.dedup();
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Failure::new(
            Kind::Usage,
            format!(
                "`{}` and `{}` would both be uploaded as `{}`",
                pair[0].1.display(),
                pair[1].1.display(),
                pair[0].0
            ),
        )
        .hint("rename one of them, or send a folder that contains both")),
        None => Ok(()),
    }
}

fn unnameable(path: &Path) -> Failure {
    Failure::new(Kind::BadKey, format!("the name of `{}` is not UTF-8, and keys must be", path.display()))
}
