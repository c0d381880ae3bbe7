//! How a container gets files of this machine: mounted, or copied into it before it starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ncaas_core::engine::Engine;
use ncaas_core::engine::archive::{ArchiveWriter, archive_interrupted};
use ncaas_core::engine::podman::is_safe_in_mount;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use walkdir::WalkDir;

use crate::container_spec::{ContainerSpec, SharedPath};

/// The shared paths of a container, by how it gets them.
#[derive(Debug, Default)]
pub(crate) struct FileSharing {
    /// Paths that are bind-mounted.
    pub(crate) mounted: Vec<SharedPath>,
    /// Paths that are copied into the container before it starts.
    pub(crate) copied: Vec<SharedPath>,
}

impl FileSharing {
    /// A remote engine cannot mount files of this machine, and Podman cannot mount every path. Fails with
    /// [`Kind::UnsafePath`] if a writable folder cannot be mounted; [`Kind::Usage`] for `--read-only` on a remote
    /// engine.
    pub(crate) async fn new(engine: &Engine, spec: &ContainerSpec) -> Result<Self> {
        let shared = spec.shared.clone();
        if engine.is_remote() {
            if spec.settings.read_only == Some(true) && !shared.is_empty() {
                let message = "`--read-only` needs an engine on this machine: a remote one gets copies of the inputs, which it \
                               cannot write into a read-only root file system";
                return Err(Failure::new(Kind::Usage, message));
            }
            return Ok(FileSharing { copied: shared, ..FileSharing::default() });
        }
        let is_safe =
            |path: &SharedPath| is_safe_in_mount(&path.host.to_string_lossy()) && is_safe_in_mount(&path.container);
        if shared.iter().all(is_safe) || !engine.is_podman().await {
            return Ok(FileSharing { mounted: shared, ..FileSharing::default() });
        }
        let (mounted, copied): (Vec<_>, Vec<_>) = shared.into_iter().partition(is_safe);
        if let Some(folder) = copied.iter().find(|path| !path.read_only) {
            let message = format!("Podman cannot mount `{}`", folder.host.display());
            return Err(Failure::new(Kind::UnsafePath, message)
                .hint("choose an io-dir and a job id without commas, double quotes and line breaks"));
        }
        Ok(FileSharing { mounted, copied })
    }

    /// Copies what is not mounted into the created container: inputs with their content, and empty writable folders.
    pub(crate) async fn copy_into(self, engine: &Engine, id: &str) -> Result<()> {
        if self.copied.is_empty() {
            return Ok(());
        }
        let write = move |archive: &mut _| self.copied.iter().try_for_each(|path| append_to(archive, path));
        engine.upload(id, "/", write).await
    }
}

/// Appends an input with its content, or an empty writable folder.
fn append_to(archive: &mut tar::Builder<ArchiveWriter>, shared: &SharedPath) -> Result<()> {
    let path = Path::new(shared.container.trim_start_matches('/'));
    let max_depth = if shared.read_only { usize::MAX } else { 0 };
    for entry in WalkDir::new(&shared.host).follow_links(true).max_depth(max_depth) {
        let entry = entry.map_err(io::Error::from).doing("copy", &shared.host)?;
        let metadata = entry.metadata().map_err(io::Error::from).doing("copy", entry.path())?;
        let mut header = tar::Header::new_gnu();
        // Owners and modes of this machine mean nothing in the container: every user there may read the inputs.
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Deterministic);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        let inside = match entry.path().strip_prefix(&shared.host) {
            Ok(rest) if rest != Path::new("") => path.join(rest),
            _ => path.to_owned(),
        };
        if metadata.is_dir() && !shared.read_only {
            header.set_mode(0o777);
        }
        let inside = if metadata.is_dir() { inside.join("") } else { inside };
        archive.append_data(&mut header, inside, io::empty()).map_err(|error| archive_interrupted(&error))?;
        if !metadata.is_dir() {
            let file = File::open(entry.path()).doing("copy", entry.path())?;
            archive.get_mut().write_content(&file, metadata.len(), entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncaas_core::engine::archive::spawn_archive;

    #[tokio::test]
    async fn a_file_that_becomes_shorter_is_not_padded_with_other_content() {
        // Files of sysfs have a size of 4096 bytes and less content.
        let shared =
            SharedPath { host: "/sys/kernel/uevent_seqnum".into(), container: "/data/x".to_owned(), read_only: true };
        let (mut pieces, _) = spawn_archive(move |archive| append_to(archive, &shared));
        let mut last = None;
        while let Some(piece) = pieces.recv().await {
            last = Some(piece);
        }
        let failure = last.and_then(Result::err).map(|failure| failure.message).unwrap_or_default();
        assert!(failure.contains("became shorter"), "{failure:?}");
    }
}
