//! One file from this machine to a bucket, or the other way, unless the same is there already.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ncaas_core::bucket::{Bucket, Entry, Key};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use rustix::fs::OFlags;

/// A folder of this machine, out of which no path leads, whatever links lie in it.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: Dir,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Folder> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).doing("open", path)?;
        Ok(Folder { dir, path: path.to_owned() })
    }

    pub(crate) fn make(path: &Path) -> Result<Folder> {
        files::make_folder(path)?;
        Folder::open(path)
    }

    /// Makes a folder in it, and those on the way.
    pub(crate) fn make_below(&self, path: &Path) -> Result<()> {
        self.dir.create_dir_all(path).map_err(|error| self.failure("make the folder", path, &error))
    }

    /// Whether something is there, links that lead elsewhere included.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.dir.symlink_metadata(path).is_ok()
    }

    fn open_file(&self, path: &Path) -> Result<std::fs::File> {
        // Without O_NONBLOCK, to open a FIFO is to wait for somebody who writes to it.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = self.dir.open_with(path, &options).map_err(|error| self.failure("read", path, &error))?;
        Ok(file.into_std())
    }

    fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        if error.kind() == io::ErrorKind::PermissionDenied
            && self.dir.symlink_metadata(path).is_ok_and(|m| m.is_symlink())
        {
            let why = format!("cannot {what} `{}`: a link leads out of `{}`", shown.display(), self.path.display());
            return Failure::new(Kind::UnsafePath, why);
        }
        Failure::io(what, &shown, error)
    }
}

/// Uploads a file. `there` is what is known to be under the key.
pub(crate) async fn put(bucket: &Bucket, folder: &Folder, path: &Path, key: &Key, there: Option<&Entry>) -> Result<()> {
    let _ = there;
    let file = folder.open_file(path)?;
    bucket.upload_file(file, &folder.path.join(path), key).await?;
    Ok(())
}

/// Downloads an object into a file, which gets its name when it is whole.
pub(crate) async fn get(bucket: &Bucket, entry: &Entry, folder: &Folder, path: &Path) -> Result<()> {
    let above = path.parent().unwrap_or(Path::new(""));
    if !above.as_os_str().is_empty() {
        folder.make_below(above)?;
    }
    let part = above.join(format!(
        "{}part-{}-{}",
        files::OURS,
        std::process::id(),
        ncaas_core::layout::short_hash(&path.to_string_lossy())
    ));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let file = folder.dir.open_with(&part, &options).map_err(|error| folder.failure("write", &part, &error))?;
    let shown = folder.path.join(path);
    let done = bucket.download_into(&entry.key, file.into_std(), &shown).await;
    if let Err(failure) = done {
        let _ = folder.dir.remove_file(&part);
        return Err(failure);
    }
    folder.dir.rename(&part, &folder.dir, path).map_err(|error| folder.failure("write", path, &error))?;
    Ok(())
}
