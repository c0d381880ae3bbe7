//! What a commit silently leaves out: files in volumes and mounts are not the container's own.

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Kind, Result};

/// A warning for every volume or mount of a container that has files in it.
///
/// # Errors
/// Where the engine does not answer.
pub(super) async fn warnings(engine: &Engine, inspected: &ContainerInspectResponse) -> Result<Vec<String>> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let mut warnings = Vec::new();
    for mount in inspected.mounts.iter().flatten() {
        let Some(path) = mount.destination.as_deref() else { continue };
        if has_files(engine, id, path).await? {
            let what = mount.typ.as_ref().map(ToString::to_string).unwrap_or_default();
            let what = if what == "volume" { "volume".to_owned() } else { format!("{what} mount") };
            warnings.push(format!("the files in `{path}` are not in the image: it is a {what}"));
        }
    }
    Ok(warnings)
}

/// Whether anything is in a folder of a container, or is a file itself.
async fn has_files(engine: &Engine, id: &str, path: &str) -> Result<bool> {
    let found = engine
        .download(id, path, |archive| {
            let entries = archive.entries().map_err(|error| ncaas_core::engine::archive::cut_off(&error))?;
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
