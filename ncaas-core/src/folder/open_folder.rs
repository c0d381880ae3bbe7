//! A folder that is opened by its path, and everything below it by handles.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files::{self, TEMPORARY_PREFIX};

/// A folder whose files are opened by their relative paths. Links are followed as long as they stay in it.
#[derive(Debug)]
pub struct Folder {
    pub(super) dir: Dir,
    pub(super) path: PathBuf,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn open(path: &Path) -> Result<Folder> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).doing("open", path)?;
        Ok(Folder { dir, path: path.to_owned() })
    }

    /// Opens a folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<Folder> {
        files::make_folder(path)?;
        Folder::open(path)
    }

    /// Its handle.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The relative path of a file below it.
    pub fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.path).unwrap_or(path)
    }

    /// Creates a folder below it, and its parents.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create_folder(&self, path: &Path) -> Result<()> {
        self.dir.create_dir_all(path).map_err(|error| self.failure("create the folder", path, &error))
    }

    /// Opens a folder below it.
    ///
    /// # Errors
    /// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] if a link leads out.
    pub fn open_below(&self, path: &Path) -> Result<Folder> {
        let dir = self.dir.open_dir(path).map_err(|error| self.path_failure("open", path, &error))?;
        Ok(Folder { dir, path: self.path.join(path) })
    }

    /// Opens a folder below it, and creates it if it does not exist.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<Folder> {
        match self.open_below(path) {
            Err(failure) if failure.kind == Kind::FileNotFound => {
                self.create_folder(path)?;
                self.open_below(path)
            }
            opened => opened,
        }
    }

    /// Whether a folder exists and is not a link to one.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if the path is something else.
    pub fn has_folder(&self, path: &Path) -> Result<bool> {
        let is_loop = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        match open_real_folder(&self.dir, path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory || is_loop(&error) => {
                let message = format!("`{}` is not a folder", self.path.join(path).display());
                Err(Failure::new(Kind::UnsafePath, message).hint("a job or a user has replaced the folder: remove it"))
            }
            Err(error) => Err(self.path_failure("open", path, &error)),
        }
    }

    /// Whether a path exists, as a file, a folder or a link.
    pub fn has(&self, path: &Path) -> bool {
        self.dir.symlink_metadata(path).is_ok()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] if it is not a regular file, or a link leads out.
    pub fn open_file(&self, path: &Path) -> Result<(File, Metadata)> {
        let (file, metadata) = self.open_any(path)?;
        if !metadata.is_file() {
            let why = format!("cannot read `{}`: it is not a regular file", self.path.join(path).display());
            return Err(Failure::new(Kind::UnsafePath, why));
        }
        Ok((file, metadata))
    }

    /// Opens a path for reading, without waiting for the writer of a FIFO.
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

    /// The first `most` bytes of a regular file, if it exists.
    pub fn read(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let (file, _) = self.open_file(path).ok()?;
        file.take(most).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Waits for the lock of this name in a folder below it, and holds it until the file is dropped. The system
    /// releases it when the process dies.
    ///
    /// # Errors
    /// If the folder cannot be written, or a link leads out.
    pub fn lock(&self, folder: &Path, name: &str) -> Result<File> {
        let path = folder.join(format!("{TEMPORARY_PREFIX}{name}.lock"));
        let mut options = OpenOptions::new();
        // Opening a FIFO for writing would wait for its reader.
        options.create(true).truncate(false).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let open = || -> io::Result<File> {
            let file = self.dir.open_with(&path, &options)?.into_std();
            file.lock()?;
            Ok(file)
        };
        open().map_err(|error| self.path_failure("lock", &path, &error))
    }

    /// The failure of an operation on a path below it.
    pub fn path_failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        let is_escape = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
        if is_escape || error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
            let why = format!("cannot {what} `{}`: a link leads out of `{}`", shown.display(), self.path.display());
            return Failure::new(Kind::UnsafePath, why).hint("put a copy there instead of the link");
        }
        Failure::io(what, &shown, error)
    }

    /// The same for a path that comes from a key.
    pub fn failure(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        let shown = self.path.join(path);
        match error.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Failure::new(
                Kind::BadKey,
                format!("cannot {what} `{}`: the same name cannot be a file and a folder", shown.display()),
            )
            .hint(
                "one key is the beginning of another, which S3 allows and a file system does not: rename one of them",
            ),
            io::ErrorKind::InvalidFilename => Failure::new(
                Kind::BadKey,
                format!("cannot {what} `{}`: a name in it is too long for this file system", shown.display()),
            ),
            _ => self.path_failure(what, path, error),
        }
    }
}

/// Opens a folder that is not a link.
///
/// # Errors
/// If the path does not exist, or is not a folder.
pub fn open_real_folder(dir: &Dir, path: impl AsRef<Path>) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed());
    Ok(Dir::from_std_file(dir.open_with(path, &options)?.into_std()))
}

#[cfg(test)]
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
        unsafe_path(folder.open_or_create(Path::new("away")).unwrap_err());
        unsafe_path(folder.write_whole(Path::new("away/x"), b"x").unwrap_err());
        unsafe_path(folder.nameless_file(Path::new("away")).unwrap_err());
        unsafe_path(folder.open_file(Path::new("file")).unwrap_err());
        unsafe_path(folder.lock(Path::new(""), "x").unwrap_err());
        unsafe_path(folder.has_folder(Path::new("away")).unwrap_err());
        // Writing to a link replaces it.
        folder.write_whole(Path::new("file"), b"ours").unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"ours");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    }
}
