//! A path in a container: its kind, and the content of a small file.

use std::io::Read;

use bollard::container::PathStatResponse;
use bollard::query_parameters::ContainerArchiveInfoOptions;

use crate::engine::archive::archive_interrupted;
use crate::engine::{Engine, reference};
use crate::failure::{Failure, Kind, NoneIf, Result};

/// Bits of Go's `os.FileMode`, in which the engine gives a path's mode. They are not those of `st_mode`.
mod go {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SOCKET: u32 = 1 << 24;
    pub(super) const SET_UID: u32 = 1 << 23;
    pub(super) const SET_GID: u32 = 1 << 22;
    pub(super) const STICKY: u32 = 1 << 20;
    pub(super) const PERMISSIONS: u32 = 0o777;
}

/// What is at a path in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// Which kind of file.
    pub kind: PathKind,
    /// Size in bytes, of a regular file.
    pub size: u64,
    /// Permissions as in `chmod`: the lower twelve bits, setuid, setgid and sticky included.
    pub mode: u32,
}

/// Which kind of file is at a path.
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
        let special = go::DEVICE | go::PIPE | go::SOCKET;
        PathInfo {
            kind: if has(go::DIRECTORY) {
                PathKind::Directory
            } else if has(go::SYMLINK) {
                PathKind::Symlink(stat.link_target.clone())
            } else if has(special) {
                PathKind::Special
            } else {
                PathKind::File
            },
            size: stat.size.try_into().unwrap_or_default(),
            mode: stat.file_mode & go::PERMISSIONS
                | u32::from(has(go::SET_UID)) << 11
                | u32::from(has(go::SET_GID)) << 10
                | u32::from(has(go::STICKY)) << 9,
        }
    }
}

impl Engine {
    /// The file at `path` in a container, without following a symlink. `None` if nothing is there.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`], or the engine does not answer.
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

    /// As [`Engine::stat`], but follows symlinks. Returns the final path too.
    ///
    /// # Errors
    /// As [`Engine::stat`].
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
        assert_eq!(stat(0o755 | go::SET_UID | go::STICKY).mode, 0o5755);
        assert_eq!(stat(0o644).kind, PathKind::File);
        assert_eq!(stat(go::DIRECTORY | 0o755).kind, PathKind::Directory);
        assert_eq!(stat(go::SYMLINK | 0o777).kind, PathKind::Symlink("/bin/busybox".to_owned()));
        assert_eq!(stat(go::DEVICE | 0o600).kind, PathKind::Special);
    }

    #[test]
    fn executable_is_what_anybody_may_execute() {
        assert!(stat(0o744).is_executable());
        assert!(!stat(0o644).is_executable());
    }
}
