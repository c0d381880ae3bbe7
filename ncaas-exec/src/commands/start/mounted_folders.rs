//! The folders of an io-dir that the engine mounts read-write in a development container.
//!
//! The engine mounts a path, and follows a link in its place. So the folders are opened before, without following
//! links, and compared after the start with what the container has. A container that has something else is removed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::folder::{Folder, open_real_folder};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::container_spec::SharedPath;
use crate::container_start;

/// Folders that were opened before the engine mounts them.
#[derive(Debug, Default)]
pub(crate) struct MountedFolders(Vec<MountedFolder>);

#[derive(Debug)]
struct MountedFolder {
    host: PathBuf,
    /// The path in the container.
    container: String,
    opened: File,
}

impl MountedFolders {
    /// Opens the folders of an io-dir, and makes those that do not exist. Fails with [`Kind::UnsafePath`] if something
    /// else is in the place of one.
    pub(crate) fn make(io_dir: &Path, shared: &[SharedPath]) -> Result<Self> {
        let io_dir = Folder::create(io_dir)?;
        let open = |shared: &SharedPath| {
            let path = io_dir.relative(&shared.host);
            if !io_dir.has_folder(path)? {
                io_dir.create_folder(path)?;
            }
            let opened =
                open_real_folder(io_dir.dir(), path).map_err(|error| io_dir.path_failure("open", path, &error))?;
            let opened = opened.into_std_file();
            Ok(MountedFolder { host: shared.host.clone(), container: shared.container.clone(), opened })
        };
        shared.iter().map(open).collect::<Result<Vec<_>>>().map(MountedFolders)
    }

    /// Makes sure that a running container has these folders, and no others in their place. Removes the container if
    /// not. Fails with [`Kind::UnsafePath`] if it has not.
    pub(crate) async fn verify(&self, engine: &Engine, id: &str) -> Result<()> {
        if engine.is_remote() {
            // It got copies.
            return Ok(());
        }
        let pid = engine.inspect(id).await?.state.and_then(|state| state.pid).unwrap_or_default();
        let root = container_root(id, pid);
        let Some(replaced) = self.0.iter().find(|folder| !folder.is_mounted(root.as_ref())) else { return Ok(()) };
        container_start::remove_container(engine, id, true).await?;
        let message = format!("`{}` was replaced while the container started", replaced.host.display());
        Err(Failure::new(Kind::UnsafePath, message).hint("another program replaced it: remove the replacement"))
    }
}

impl MountedFolder {
    /// Whether the folder is what the container has; if the container's root is not accessible, whether its path still
    /// leads to it.
    fn is_mounted(&self, root: Option<&OwnedFd>) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mounted = match root {
            Some(root) => openat2(root, &self.container, flags, Mode::empty(), ResolveFlags::IN_ROOT),
            None => open(&self.host, flags | OFlags::NOFOLLOW, Mode::empty()),
        };
        let identity = |folder: &OwnedFd| fstat(folder).map(|stat| (stat.st_dev, stat.st_ino));
        let own = fstat(&self.opened).map(|stat| (stat.st_dev, stat.st_ino));
        mounted.and_then(|mounted| identity(&mounted)).is_ok_and(|mounted| own == Ok(mounted))
    }
}

/// The root folder of a running container; none if this user may not see it, or the process id is that of another
/// machine or namespace.
fn container_root(id: &str, pid: i64) -> Option<OwnedFd> {
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if !cgroup.contains(id) {
        return None;
    }
    open(format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}
