//! The layer of a container in the engine's storage: the files that differ from the image.

use bollard::models::ContainerInspectResponse;
use walkdir::WalkDir;

use crate::text::strip_folder;

/// Files that shells, editors and downloads write in the home directory. They are not the user's work.
pub const HISTORIES: [&str; 8] = [
    ".ash_history",
    ".bash_history",
    ".lesshst",
    ".python_history",
    ".sh_history",
    ".viminfo",
    ".wget-hsts",
    ".zsh_history",
];

/// The paths of a container at which something is mounted.
pub fn mount_points(inspected: &ContainerInspectResponse) -> Vec<&str> {
    inspected.mounts.iter().flatten().filter_map(|mount| mount.destination.as_deref()).collect()
}

/// Whether a container's layer has nothing but folders for its mounts. `false` also if the layer cannot be read on this
/// machine. The engine takes 11 ms or more to compare the layer with the image.
pub fn has_only_mount_points(inspected: &ContainerInspectResponse) -> bool {
    let driver = inspected.graph_driver.as_ref().filter(|driver| driver.name == "overlay2");
    let Some(layer) = driver.and_then(|driver| driver.data.get("UpperDir")) else { return false };
    let mounts = mount_points(inspected);
    let is_above_mount = |path: &str| mounts.iter().any(|mount| strip_folder(mount, path).is_some());
    WalkDir::new(layer).min_depth(1).into_iter().all(|entry| {
        entry.is_ok_and(|entry| {
            entry.path().to_str().and_then(|path| path.strip_prefix(layer.as_str())).is_some_and(is_above_mount)
        })
    })
}
