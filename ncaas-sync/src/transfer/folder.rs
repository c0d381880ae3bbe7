//! A folder of this machine, out of which no path leads, whatever links lie in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use rustix::fs::OFlags;

use super::part::Part;
use super::stamp::Stamp;

/// A folder, and the files below it by their relative paths. Links are followed as long as they stay in it.
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

    /// Opens a folder, and makes it if it is not there.
    pub(crate) fn make(path: &Path) -> Result<Folder> {
        files::make_folder(path)?;
        Folder::open(path)
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where it is, with links as they were given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it, and those on the way.
    pub(crate) fn make_below(&self, path: &Path) -> Result<()> {
        match self.dir.create_dir_all(path) {
            Err(error) => Err(self.failure("make the folder", path, &error)),
            Ok(()) => Ok(()),
        }
    }

    /// Opens a folder below it, and makes it if it is not there.
    pub(crate) fn below(&self, path: &Path) -> Result<Folder> {
        let dir = match self.dir.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_below(path)?;
                self.dir.open_dir(path)
            }
            dir => dir,
        };
        let dir = dir.map_err(|error| self.contained("open", path, &error))?;
        Ok(Folder { dir, path: self.path.join(path) })
    }

    /// Writes a file so that whoever opens it sees the old content or the new, and never half of it.
    pub(crate) fn write_whole(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let mut part = Part::new(self, path)?;
        write(&mut part.file).map_err(|error| self.contained("write", path, &error))?;
        part.finish(self, path).map(drop)
    }

    /// Whether something is there, links that lead elsewhere included.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.dir.symlink_metadata(path).is_ok()
    }

    /// What a file is known by, if there is one.
    pub(crate) fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.dir
            .metadata(path)
            .ok()
            .filter(cap_std::fs::Metadata::is_file)
            .map(|metadata| Stamp::of_contained(&metadata))
    }

    /// Opens a regular file to read.
    pub(crate) fn open_file(&self, path: &Path) -> Result<(File, Stamp)> {
        // Without O_NONBLOCK, to open a FIFO is to wait for somebody who writes to it.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = self.dir.open_with(path, &options).map_err(|error| self.failure("read", path, &error))?;
        let file = file.into_std();
        let metadata = file.metadata().map_err(|error| self.failure("read", path, &error))?;
        if !metadata.is_file() {
            let why = format!("cannot read `{}`: it is not a regular file", self.path.join(path).display());
            return Err(Failure::new(Kind::UnsafePath, why));
        }
        Ok((file, Stamp::of(&metadata)))
    }

    /// Opens a regular file, if there is one.
    pub(crate) fn try_open_file(&self, path: &Path) -> Option<(File, Stamp)> {
        self.open_file(path).ok()
    }

    /// A failure of an operation on a path in it.
    pub(crate) fn contained(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        let is_escape = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if is_escape || error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
            let why = format!("cannot {what} `{}`: a link leads out of `{}`", shown.display(), self.path.display());
            return Failure::new(Kind::UnsafePath, why).hint("put a copy there instead of the link");
        }
        Failure::io(what, &shown, error)
    }

    /// The same for a path that was made from a key.
    pub(crate) fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        match error.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Failure::new(
                Kind::BadKey,
                format!("cannot {what} `{}`: one name cannot be a file and a folder at once", shown.display()),
            )
            .hint(
                "S3 can hold keys of which one is the beginning of another, a file system cannot: rename one of them",
            ),
            io::ErrorKind::InvalidFilename => Failure::new(
                Kind::BadKey,
                format!("cannot {what} `{}`: a name in it is too long for this file system", shown.display()),
            ),
            _ => self.contained(what, path, error),
        }
    }
}
