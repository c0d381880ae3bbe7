//! Bringing local files and folders into a group's `inputs/` and `configs/`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::tool::Tool;
use sha2::{Digest, Sha256};

/// How many files are looked at or uploaded at once.
const AT_ONCE: usize = 8;

/// A dataset or the config of a submission.
#[derive(Debug)]
pub(super) struct Part {
    /// As it stands in the submit file.
    name: String,
    /// What is to be uploaded for it; nothing for what is in the bucket.
    files: Vec<(PathBuf, Key)>,
}

impl Part {
    /// The key, or the `s3://` path, for the submit file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Where parts are uploaded to.
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

    /// What a name on the command line stands for: a file or folder of this machine, else a key. Reads no content.
    pub(super) fn part(&self, name: &str, folder: &str) -> Result<Part> {
        let path = Path::new(name);
        if name.starts_with("s3://") || !path.exists() {
            return self.key(name);
        }
        if let Some(name) = self.key_of_file_in_bucket(path) {
            return Ok(Part { name, files: Vec::new() });
        }
        let absolute = path.canonicalize().doing("find", path)?;
        let base = absolute.file_name().and_then(|base| base.to_str()).ok_or_else(|| unnameable(path))?;
        let key = Key::new(format!("{}/{folder}/{base}", self.group))?;
        if path.is_dir() {
            let files = files_below(path, &key)?;
            return Ok(Part { name: format!("{key}/"), files });
        }
        Ok(Part { name: key.as_str().to_owned(), files: vec![(path.to_owned(), key)] })
    }

    fn key(&self, name: &str) -> Result<Part> {
        let is_key =
            name.starts_with("s3://") || name.strip_prefix(self.group).is_some_and(|rest| rest.starts_with('/'));
        if is_key {
            return Ok(Part { name: name.to_owned(), files: Vec::new() });
        }
        Err(Failure::new(Kind::FileNotFound, format!("there is no file `{name}`, and it is no key of the group"))
            .hint(format!("a key begins with the group: `{}/inputs/...`", self.group)))
    }

    /// A file that lies in the group's own folder of a directory bucket is where it has to be.
    fn key_of_file_in_bucket(&self, path: &Path) -> Option<String> {
        let absolute = path.canonicalize().ok()?;
        let key = absolute.strip_prefix(self.bucket.address()).ok()?.to_str()?;
        let in_group = key.strip_prefix(self.group).is_some_and(|rest| rest.starts_with('/'));
        in_group.then(|| if path.is_dir() { format!("{key}/") } else { key.to_owned() })
    }

    /// Uploads what is not there yet.
    pub(super) async fn upload(&self, part: &Part) -> Result<()> {
        use futures_util::{StreamExt, TryStreamExt, stream};
        stream::iter(&part.files)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, async |(path, key)| self.upload_file(path, key).await)
            .await?;
        let uploads = stream::iter(&part.files).count().await;
        if uploads > 1 {
            self.tool.note(&format!("`{}` is in the bucket: {uploads} files", part.name));
        }
        Ok(())
    }

    async fn upload_file(&self, path: &Path, key: &Key) -> Result<()> {
        if let Some(there) = self.bucket.head(key).await? {
            if self.is_the_same(path, &there).await? {
                return Ok(());
            }
            if !self.force {
                return Err(Failure::new(
                    Kind::NameInUse,
                    format!("`{key}` is in the bucket already, and `{}` differs from it", path.display()),
                )
                .hint(
                    "`--force` overwrites it; jobs that have it as their dataset and have not begun get the new one",
                ));
            }
        }
        self.bucket.upload(path, key).await.map(drop)
    }

    /// Whether what is in the bucket is the file, by size and SHA-256.
    async fn is_the_same(&self, path: &Path, there: &Entry) -> Result<bool> {
        let size = std::fs::metadata(path).doing("read", path)?.len();
        if size != there.size {
            return Ok(false);
        }
        let ours = sum(path)?;
        if let Some(theirs) = &there.sha256 {
            return Ok(*theirs == ours);
        }
        // A directory keeps no checksums, nor does an object that others have uploaded: its content tells.
        let copy = tempfile::NamedTempFile::new().doing("make a file in", &std::env::temp_dir())?;
        let file = copy.as_file().try_clone().doing("write", copy.path())?;
        Ok(self.bucket.download_into(&there.key, file, copy.path()).await?.sha256 == ours)
    }
}

/// All files below a folder, and the keys that they get.
fn files_below(folder: &Path, key: &Key) -> Result<Vec<(PathBuf, Key)>> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), key.clone())];
    while let Some((folder, key)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).doing("read", &folder)? {
            let path = entry.doing("read", &folder)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| unnameable(&path))?;
            let key = key.join(name)?;
            // A link counts as what it leads to; one that leads to a folder could lead in a circle.
            match std::fs::symlink_metadata(&path).doing("read", &path)? {
                metadata if metadata.is_dir() => folders.push((path, key)),
                _ if path.is_file() => files.push((path, key)),
                _ => {
                    return Err(Failure::new(
                        Kind::UnsafePath,
                        format!("`{}` is neither a file nor a folder of files", path.display()),
                    ));
                }
            }
        }
    }
    if files.is_empty() {
        return Err(Failure::new(Kind::FileNotFound, format!("there is no file in the folder `{}`", folder.display())));
    }
    files.sort();
    Ok(files)
}

/// Refuses two local names that would get the same key.
pub(super) fn all_differ<'p>(parts: impl Iterator<Item = &'p Part>) -> Result<()> {
    let mut keys: Vec<(&Key, &Path)> =
        parts.flat_map(|part| &part.files).map(|(path, key)| (key, path.as_path())).collect();
    keys.sort();
    keys.dedup();
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Failure::new(
            Kind::Usage,
            format!("`{}` and `{}` would both be `{}`", pair[0].1.display(), pair[1].1.display(), pair[0].0),
        )
        .hint("rename one, or send the folder that both lie in")),
        None => Ok(()),
    }
}

fn unnameable(path: &Path) -> Failure {
    Failure::new(Kind::BadKey, format!("`{}` has no name that a key can have: it is not UTF-8", path.display()))
}

fn sum(path: &Path) -> Result<String> {
    let mut file = File::open(path).doing("read", path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).doing("read", path)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
