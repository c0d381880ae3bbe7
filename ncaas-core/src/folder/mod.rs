//! A folder of this machine that no path and no symbolic link can escape.
//!
//! A container can put links in the place of files and folders that it sees. The io-dir is opened by its path, which is the
//! user's; all below it by handle: a link that stays in it is followed, and one that leaves is refused.

mod partial_file;

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
pub use partial_file::PartialFile;
use rustix::fs::OFlags;

use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files::{self, TEMPORARY_PREFIX};

/// A folder, and the files below it by their relative paths. Links are followed as long as they stay in it.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Folder> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).doing("open", path)?;
        Ok(Folder { dir, path: path.to_owned() })
    }

    /// Opens a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(path: &Path) -> Result<Folder> {
        files::make_folder(path)?;
        Folder::open(path)
    }

    /// Its handle.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where it is, with links as they were given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path of this machine as one below it.
    pub fn within<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.path).unwrap_or(path)
    }

    /// Makes a folder in it, and those on the way.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_below(&self, path: &Path) -> Result<()> {
        self.dir.create_dir_all(path).map_err(|error| self.failure("make the folder", path, &error))
    }

    /// Opens a folder below it.
    ///
    /// # Errors
    /// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] where a link leads out.
    pub fn open_below(&self, path: &Path) -> Result<Folder> {
        let dir = self.dir.open_dir(path).map_err(|error| self.contained("open", path, &error))?;
        Ok(Folder { dir, path: self.path.join(path) })
    }

    /// Opens a folder below it, and makes it if it is not there.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where a link leads out.
    pub fn below(&self, path: &Path) -> Result<Folder> {
        match self.open_below(path) {
            Err(failure) if failure.kind == Kind::FileNotFound => {
                self.make_below(path)?;
                self.open_below(path)
            }
            opened => opened,
        }
    }

    /// Whether a folder is there that is one, and no link to one.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where something else is there.
    pub fn has_folder(&self, path: &Path) -> Result<bool> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed());
        let is_loop = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        match self.dir.open_with(path, &options) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory || is_loop(&error) => {
                let words = format!("`{}` is not the folder that was made there", self.path.join(path).display());
                Err(Failure::new(Kind::UnsafePath, words)
                    .hint("find out what put something else there, and move it away"))
            }
            Err(error) => Err(self.contained("open", path, &error)),
        }
    }

    /// Writes a file atomically: readers see the old or the new content.
    ///
    /// # Errors
    /// When the disk is full, or a link leads out.
    pub fn write_with(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        let mut part = PartialFile::new(self, path)?;
        write(&mut part.file).map_err(|error| self.contained("write", path, &error))?;
        part.finish(self, path).map(drop)
    }

    /// The same for content that is in memory.
    ///
    /// # Errors
    /// When the disk is full, or a link leads out.
    pub fn write_whole(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.write_with(path, |file| file.write_all(content))
    }

    /// A file without a name in a folder below it, which the system removes even if this process is killed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn nameless_file(&self, folder: &Path) -> Result<File> {
        let part = PartialFile::new(self, &folder.join("nameless"))?;
        part.file.try_clone().map_err(|error| self.contained("write in", folder, &error))
    }

    /// Whether something is there, links that lead elsewhere included.
    pub fn has(&self, path: &Path) -> bool {
        self.dir.symlink_metadata(path).is_ok()
    }

    /// Opens a regular file to read.
    ///
    /// # Errors
    /// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] where something else is there, or a link leads out.
    pub fn open_file(&self, path: &Path) -> Result<(File, Metadata)> {
        let (file, metadata) = self.open_any(path)?;
        if !metadata.is_file() {
            let why = format!("cannot read `{}`: it is not a regular file", self.path.join(path).display());
            return Err(Failure::new(Kind::UnsafePath, why));
        }
        Ok((file, metadata))
    }

    /// Opens whatever is at a path to read it, without waiting for the writer of a pipe.
    ///
    /// # Errors
    /// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] if a link leads out.
    pub fn open_any(&self, path: &Path) -> Result<(File, Metadata)> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = self.dir.open_with(path, &options).map_err(|error| self.failure("read", path, &error))?;
        let file = file.into_std();
        let metadata = file.metadata().map_err(|error| self.failure("read", path, &error))?;
        Ok((file, metadata))
    }

    /// The content of a regular file, up to so many bytes, if there is one.
    pub fn read(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let (file, _) = self.open_file(path).ok()?;
        file.take(most).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Waits until nobody else holds the lock of that name in a folder below it, and holds it until the file is dropped.
    /// The system lets go of it when the process dies.
    ///
    /// # Errors
    /// When the folder cannot be written, or a link leads out.
    pub fn lock(&self, folder: &Path, name: &str) -> Result<File> {
        let path = folder.join(format!("{TEMPORARY_PREFIX}{name}.lock"));
        let mut options = OpenOptions::new();
        // To open a FIFO to write is to wait for somebody who reads it.
        options.create(true).truncate(false).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let open = || -> io::Result<File> {
            let file = self.dir.open_with(&path, &options)?.into_std();
            file.lock()?;
            Ok(file)
        };
        open().map_err(|error| self.contained("lock", &path, &error))
    }

    /// A failure of an operation on a path in it.
    pub fn contained(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        let is_escape = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if is_escape || error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
            let why = format!("cannot {what} `{}`: a link leads out of `{}`", shown.display(), self.path.display());
            return Failure::new(Kind::UnsafePath, why).hint("put a copy there instead of the link");
        }
        Failure::io(what, &shown, error)
    }

    /// The same for a path that was made from a key.
    pub fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
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

/// Opens a folder, but not a link to one.
///
/// # Errors
/// When there is no folder, or a link.
pub fn open_real_folder(dir: &Dir, path: impl AsRef<Path>) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed());
    Ok(Dir::from_std_file(dir.open_with(path, &options)?.into_std()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_a_folder() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let home = tempfile::tempdir().unwrap();
        symlink(outside.path(), home.path().join("away")).unwrap();
        symlink(outside.path().join("secret"), home.path().join("file")).unwrap();
        symlink(outside.path().join("new"), home.path().join(".ncaas-x.lock")).unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let unsafe_path = |failure: Failure| assert_eq!(failure.kind, Kind::UnsafePath, "{failure}");
        unsafe_path(folder.below(Path::new("away")).unwrap_err());
        unsafe_path(folder.write_whole(Path::new("away/x"), b"x").unwrap_err());
        unsafe_path(folder.nameless_file(Path::new("away")).unwrap_err());
        unsafe_path(folder.open_file(Path::new("file")).unwrap_err());
        unsafe_path(folder.lock(Path::new(""), "x").unwrap_err());
        unsafe_path(folder.has_folder(Path::new("away")).unwrap_err());
        // What is written over a link takes its place.
        folder.write_whole(Path::new("file"), b"ours").unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"ours");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    }
}
