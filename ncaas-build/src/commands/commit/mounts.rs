//! What a commit silently leaves out: files in volumes and mounts are not the container's own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, MountPoint};
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Kind, Result};
use walkdir::WalkDir;

use crate::image_record::LeftOut;

/// How long the files of one mount are counted.
const COUNTED: Duration = Duration::from_secs(2);

/// Every volume or mount of a container that has files in it.
///
/// # Errors
/// Where the engine does not answer.
pub(super) async fn left_out(engine: &Engine, inspected: &ContainerInspectResponse) -> Result<Vec<LeftOut>> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for mount in inspected.mounts.iter().flatten() {
        let Some(path) = mount.destination.as_deref() else { continue };
        if has_files(engine, id, path).await? {
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

/// The folder or file of a bind mount; volumes are the engine's, which need not be ours to read.
fn bind_source(mount: &MountPoint) -> Option<PathBuf> {
    mount.source.as_ref().filter(|_| mount.typ.as_deref() == Some("bind")).map(PathBuf::from)
}

fn describe(mount: &MountPoint, path: &str, counted: Option<(u64, u64)>) -> LeftOut {
    let kind = mount.typ.clone().unwrap_or_default();
    let name = mount.name.clone().filter(|name| !name.is_empty());
    let hint = match (kind.as_str(), &name) {
        ("bind", _) => "`COPY` what the image needs of it in a Dockerfile, or mount it in each container".to_owned(),
        ("volume", Some(name)) => format!(
            "copy what the image needs to another folder of the container; `-v {name}:{path}` brings the volume back"
        ),
        _ => "copy what the image needs to another folder of the container".to_owned(),
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

/// Number of files and their bytes. None where not all can be read, or it takes too long.
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

/// Whether anything is in a folder of a container, or is a file itself.
async fn has_files(engine: &Engine, id: &str, path: &str) -> Result<bool> {
    let found = engine
        .download(id, path, |archive| {
            let entries =
                archive.entries().map_err(|error| ncaas_core::engine::archive::archive_interrupted(&error))?;
            // Folders alone are nothing that could be lost.
            let mut files =
                entries.map_while(std::result::Result::ok).filter(|entry| !entry.header().entry_type().is_dir());
            Ok(files.next().is_some())
        })
        .await;
    match found {
        Err(failure) if failure.kind == Kind::FileNotFound => Ok(false),
        found => found,
    }
}
