//! The volumes and mounts of a container: the engine does not save their files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, MountPoint};
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Kind, NoneIf, Result};
use ncaas_core::layout::CONTAINER_IO_DIR;
use walkdir::WalkDir;

use crate::image_record::LeftOut;

/// How long the files of one mount may be counted.
const COUNTED: Duration = Duration::from_secs(2);

/// Every volume or mount of a container that holds files, except for the io-dir of the tools: that is not meant to be
/// saved.
pub(super) async fn left_out(engine: &Engine, inspected: &ContainerInspectResponse) -> Result<Vec<LeftOut>> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let io_dir = inspected.config.as_ref().and_then(|config| config.labels.as_ref()?.get(labels::IO_DIR).cloned());
    let io_dir = io_dir.unwrap_or_else(|| CONTAINER_IO_DIR.to_owned());
    let mut found = Vec::new();
    for mount in inspected.mounts.iter().flatten() {
        let Some(path) = mount.destination.as_deref() else { continue };
        if !Path::new(path).starts_with(&io_dir) && has_files(engine, id, path).await? {
            let on_this_machine = if engine.is_remote() { None } else { bind_source(mount) };
            let counted = match on_this_machine {
                Some(source) => tokio::task::spawn_blocking(|| count(source)).await.unwrap_or_default(),
                None => None,
            };
            found.push(describe(mount, path, counted));
        }
    }
    Ok(found)
}

/// The folder or file of a bind mount. Folders of volumes belong to the engine, and may not be readable.
fn bind_source(mount: &MountPoint) -> Option<PathBuf> {
    mount.source.as_ref().filter(|_| mount.typ.as_deref() == Some("bind")).map(PathBuf::from)
}

fn describe(mount: &MountPoint, path: &str, counted: Option<(u64, u64)>) -> LeftOut {
    let kind = mount.typ.clone().unwrap_or_default();
    let name = mount.name.clone().filter(|name| !name.is_empty());
    let hint = match (kind.as_str(), &name) {
        ("bind", _) => "`COPY` the files in a Dockerfile, or mount the folder in each container".to_owned(),
        ("volume", Some(name)) => format!(
            "copy the files to another folder of the container, or mount the volume in each container: `-v {name}:{path}`"
        ),
        _ => "copy the files to another folder of the container".to_owned(),
    };
    LeftOut {
        path: path.to_owned(),
        kind,
        name,
        source: mount.source.clone().filter(|source| !source.is_empty()),
        files: counted.map(|(files, _)| files),
        bytes: counted.map(|(_, bytes)| bytes),
        hint,
    }
}

/// Number and size of the files. None if one cannot be read, or counting takes too long.
fn count(source: PathBuf) -> Option<(u64, u64)> {
    let begun = Instant::now();
    let (mut files, mut bytes) = (0, 0);
    for entry in WalkDir::new(source).follow_root_links(true) {
        let entry = entry.ok().filter(|_| begun.elapsed() < COUNTED)?;
        if !entry.file_type().is_dir() {
            files += 1;
            bytes += entry.metadata().ok()?.len();
        }
    }
    Some((files, bytes))
}

/// Whether a path in a container is a file, or a folder with files.
async fn has_files(engine: &Engine, id: &str, path: &str) -> Result<bool> {
    let found = engine
        .download(id, path, |archive| {
            let entries =
                archive.entries().map_err(|error| ncaas_core::engine::archive::archive_interrupted(&error))?;
            // Empty folders do not matter.
            let mut files =
                entries.map_while(std::result::Result::ok).filter(|entry| !entry.header().entry_type().is_dir());
            Ok(files.next().is_some())
        })
        .await;
    Ok(found.none_if(&[Kind::FileNotFound])?.unwrap_or(false))
}
