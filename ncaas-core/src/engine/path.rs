//! A path in a container: its kind, and the content of a small file.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use async_recursion::async_recursion as boxed;
use bollard::container::PathStatResponse;
use bollard::query_parameters::ContainerArchiveInfoOptions;
use jiff::Timestamp;

use crate::engine::archive::archive_interrupted;
use crate::engine::connection::Engine;
use crate::engine::reference;
use crate::failure::{Failure, Kind, NoneIf, Result};

/// Bits of Go's `os.FileMode`, in which the engine gives and takes modes. They are not those of `st_mode`.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
/// Devices, pipes and sockets.
const SPECIAL: u32 = 1 << 26 | 1 << 25 | 1 << 24;
/// setuid, setgid and sticky, each with its bit in `st_mode`.
const SPECIAL_PERMISSIONS: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];

/// The mode of a file, folder or link of this machine as Go's `os.FileMode`.
pub fn go_mode(metadata: &Metadata) -> u32 {
    let mode = metadata.mode();
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => DIRECTORY,
        kind if kind.is_symlink() => SYMLINK,
        _ => 0,
    };
    let special = SPECIAL_PERMISSIONS.iter().filter(|(_, bit)| mode & bit != 0).map(|(go, _)| go);
    special.fold(kind | mode & 0o777, |all, go| all | go)
}

/// The file at a path in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The kind of file.
    pub kind: PathKind,
    /// Size in bytes, of a regular file.
    pub size: u64,
    /// Permissions as in `chmod`: the lower twelve bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// When its content changed.
    pub modified: Option<Timestamp>,
}

/// The kind of the file at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symlink, and where it leads to in the container in the end, as an absolute path.
    Symlink(String),
    /// A device, pipe or socket.
    Special,
}

impl PathInfo {
    /// Whether anybody may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    fn from_go(stat: PathStatResponse) -> Self {
        let has = |bit| stat.file_mode & bit != 0;
        let kind = if has(DIRECTORY) {
            PathKind::Directory
        } else if has(SYMLINK) {
            PathKind::Symlink(stat.link_target.clone())
        } else if has(SPECIAL) {
            PathKind::Special
        } else {
            PathKind::File
        };
        let special = SPECIAL_PERMISSIONS.iter().filter(|(go, _)| has(*go)).map(|(_, bit)| bit);
        let mode = special.fold(stat.file_mode & 0o777, |all, bit| all | bit);
        let modified = stat.modification_time.and_then(|time| time.parse().ok());
        PathInfo { kind, size: stat.size.try_into().unwrap_or_default(), mode, modified }
    }
}

impl Engine {
    /// The file at `path` in a container, without following a symlink. `None` if nothing is there.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`], or the engine does not answer.
    #[boxed]
    pub async fn stat(&self, id: &str, path: &str) -> Result<Option<PathInfo>> {
        let (id, path) = (reference::container(id)?, reference::path(path)?);
        let options = ContainerArchiveInfoOptions { path: path.to_owned() };
        match self.docker().get_container_archive_info(id, Some(options)).await {
            Ok(stat) => Ok(Some(PathInfo::from_go(stat))),
            Err(error) => {
                let failure = self.no_such_path(id, path, &error, "inspect").await;
                Err(failure).none_if(&[Kind::FileNotFound])
            }
        }
    }

    /// Same as [`Engine::stat`], but follows symlinks. Returns the final path too.
    ///
    /// # Errors
    /// Same as [`Engine::stat`].
    #[boxed]
    pub async fn stat_target(&self, id: &str, path: &str) -> Result<Option<(String, PathInfo)>> {
        match self.stat(id, path).await? {
            Some(PathInfo { kind: PathKind::Symlink(target), .. }) => {
                let info = self.stat(id, &target).await?;
                // The engine has followed the whole chain: a link at its end is broken or leads to itself.
                Ok(info.filter(|info| !matches!(info.kind, PathKind::Symlink(_))).map(|info| (target, info)))
            }
            found => Ok(found.map(|info| (path.to_owned(), info))),
        }
    }

    /// The first `limit` bytes of a regular file in a container.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::FileNotFound`] if there is no such path, or it is not a regular file.
    #[boxed]
    pub async fn read_file(&self, id: &str, path: &str, limit: u64) -> Result<Vec<u8>> {
        let subject = format!("`{path}` in container `{id}`");
        self.download(id, path, move |archive| {
            let mut entries = archive.entries().map_err(|error| archive_interrupted(&error))?;
            let entry = entries.next().transpose().map_err(|error| archive_interrupted(&error))?;
            match entry {
                Some(entry) if entry.header().entry_type().is_file() => {
                    let mut content = Vec::new();
                    entry.take(limit).read_to_end(&mut content).map_err(|error| archive_interrupted(&error))?;
                    Ok(content)
                }
                _ => Err(Failure::new(Kind::FileNotFound, format!("{subject} is not a regular file"))),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(file_mode: u32) -> PathInfo {
        let link_target = "/bin/busybox".to_owned();
        PathInfo::from_go(PathStatResponse {
            name: "x".to_owned(),
            size: 3,
            file_mode,
            modification_time: None,
            link_target,
        })
    }

    #[test]
    fn gos_mode_bits_become_those_of_chmod() {
        assert_eq!(stat(0o755 | 1 << 23 | 1 << 20).mode, 0o5755);
        assert_eq!(stat(0o644).kind, PathKind::File);
        assert_eq!(stat(DIRECTORY | 0o755).kind, PathKind::Directory);
        assert_eq!(stat(SYMLINK | 0o777).kind, PathKind::Symlink("/bin/busybox".to_owned()));
        assert_eq!(stat(1 << 26 | 0o600).kind, PathKind::Special);
    }

    #[test]
    fn a_file_that_anybody_may_execute_is_executable() {
        assert!(stat(0o744).is_executable());
        assert!(!stat(0o644).is_executable());
    }
}
