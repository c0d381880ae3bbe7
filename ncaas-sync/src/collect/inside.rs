//! What has to be known of a container before anything is taken out of it: where its results, its mounts and its
//! working directory are, and what it has changed.

use std::collections::BTreeSet;

use bollard::models::{ChangeType, ContainerInspectResponse};
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::Result;
use ncaas_core::layout::{CONTAINER_IO_DIR, LOGS, RESULTS};

use crate::names;

/// A container as seen by whoever collects from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    /// Full id.
    pub(crate) id: String,
    /// Where the image's programs are started; empty where that is the root, which is nobody's folder.
    pub(crate) working_dir: String,
    /// Where the io-dir is mounted, or would be.
    pub(crate) io_dir: String,
    /// What is mounted into it, and so invisible in its changes.
    pub(crate) mounts: Vec<Mounted>,
}

/// Something that is mounted into a container.
#[derive(Debug, Clone)]
pub(crate) struct Mounted {
    /// Where, in the container.
    pub(crate) at: String,
    pub(crate) kind: MountKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind,
    /// A volume that somebody has named, and so has elsewhere.
    Volume,
    /// A volume that came into being with the container, because its image declares one there.
    OwnVolume,
    /// Gone as soon as the container stops.
    Tmpfs,
}

/// One path that a container has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Added,
    Changed,
    Deleted,
}

impl Inside {
    pub(crate) fn of(inspected: &ContainerInspectResponse) -> Inside {
        let config = inspected.config.as_ref();
        let label = |name| config.and_then(|config| config.labels.as_ref()?.get(name).cloned());
        let working_dir = config.and_then(|config| config.working_dir.as_deref()).map(names::plain);
        let tmpfs = inspected.host_config.as_ref().and_then(|host| host.tmpfs.as_ref());
        let tmpfs = tmpfs.into_iter().flatten().map(|(at, _)| Mounted { at: names::plain(at), kind: MountKind::Tmpfs });
        let mut mounts: Vec<Mounted> = inspected.mounts.iter().flatten().filter_map(mounted).chain(tmpfs).collect();
        mounts.sort_by(|a, b| a.at.cmp(&b.at));
        Inside {
            id: inspected.id.clone().unwrap_or_default(),
            working_dir: working_dir.filter(|path| path != "/").unwrap_or_default(),
            io_dir: names::plain(&label(labels::IO_DIR).unwrap_or_else(|| CONTAINER_IO_DIR.to_owned())),
            mounts,
        }
    }

    /// What is assumed of a container that is gone.
    pub(crate) fn of_a_gone_one() -> Inside {
        Inside { io_dir: CONTAINER_IO_DIR.to_owned(), ..Inside::default() }
    }

    /// Where its results folder is, or would be.
    pub(crate) fn results(&self) -> String {
        format!("{}/{RESULTS}", self.io_dir)
    }

    /// Where its logs folder is, or would be.
    pub(crate) fn logs(&self) -> String {
        format!("{}/{LOGS}", self.io_dir)
    }

    /// Whether a path lies in something that is mounted, or is where it is mounted.
    pub(crate) fn is_mounted(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| names::below(path, &mount.at).is_some())
    }
}

fn mounted(mount: &bollard::models::MountPoint) -> Option<Mounted> {
    let name = mount.name.clone().unwrap_or_default();
    let is_hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let kind = match mount.typ.as_deref()? {
        "tmpfs" => MountKind::Tmpfs,
        "volume" if is_hash => MountKind::OwnVolume,
        "volume" => MountKind::Volume,
        _ => MountKind::Bind,
    };
    Some(Mounted { at: names::plain(mount.destination.as_deref()?), kind })
}

/// What a container has changed in its own file system, in the order of the paths. What lies in its mounts is not in it.
pub(crate) async fn changes(engine: &Engine, inside: &Inside) -> Result<Vec<Change>> {
    let id = &inside.id;
    let changes =
        engine.docker().container_changes(id).await.engine_context("list the changes of", Subject::Container(id))?;
    let mut changes: Vec<Change> = changes
        .into_iter()
        .flatten()
        .filter(|change| !inside.is_mounted(&change.path))
        .map(|change| Change {
            path: change.path,
            how: match change.kind {
                ChangeType::_1 => How::Added,
                ChangeType::_2 => How::Deleted,
                _ => How::Changed,
            },
        })
        .collect();
    changes.sort();
    Ok(changes)
}

/// The folders among changed paths: whatever has another changed path below it.
pub(crate) fn folders(changes: &[Change]) -> BTreeSet<&str> {
    changes.iter().filter_map(|change| change.path.rsplit_once('/')).map(|(folder, _)| folder).collect()
}
