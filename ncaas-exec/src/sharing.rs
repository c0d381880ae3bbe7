//! How a container comes to see files of this machine: mounted, or copied into it before it starts.

use ncaas_core::engine::Engine;
use ncaas_core::engine::podman::is_safe_in_mount;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};

use crate::plan::{Plan, Shared};

/// What a container is to see, and how.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    /// What is mounted.
    pub(crate) mounted: Vec<Shared>,
    /// What is copied into it.
    pub(crate) copied: Vec<Shared>,
}

impl Sharing {
    /// An engine on another machine can mount nothing of this one; Podman not everything.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where a folder has to be mounted and cannot be.
    pub(crate) async fn of(engine: &Engine, plan: &Plan) -> Result<Self> {
        let shared = plan.shared.clone();
        if engine.is_remote() {
            return Ok(Sharing { copied: shared, ..Sharing::default() });
        }
        let is_safe = |one: &Shared| is_safe_in_mount(&one.host.to_string_lossy()) && is_safe_in_mount(&one.inside);
        if shared.iter().all(is_safe) || !engine.is_podman().await {
            return Ok(Sharing { mounted: shared, ..Sharing::default() });
        }
        let (mounted, copied): (Vec<_>, Vec<_>) = shared.into_iter().partition(is_safe);
        if let Some(folder) = copied.iter().find(|one| !one.read_only) {
            let words = format!("Podman cannot mount `{}`", folder.host.display());
            return Err(Failure::new(Kind::UnsafePath, words)
                .hint("choose an io-dir and a job id without commas, double quotes and line breaks"));
        }
        Ok(Sharing { mounted, copied })
    }

    /// Copies what is not mounted into the container that was made: inputs with their content, and folders to write to,
    /// which anybody may write to.
    pub(crate) async fn bring(self, engine: &Engine, id: &str) -> Result<()> {
        if self.copied.is_empty() {
            return Ok(());
        }
        let write = move |archive: &mut tar::Builder<_>| self.copied.iter().try_for_each(|one| append(archive, one));
        engine.upload(id, "/", write).await
    }
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, shared: &Shared) -> Result<()> {
    let inside = shared.inside.trim_start_matches('/');
    archive.follow_symlinks(true);
    // Owner and mode of this machine say nothing there: anybody may read.
    archive.mode(tar::HeaderMode::Deterministic);
    let copied = if !shared.host.is_dir() {
        archive.append_path_with_name(&shared.host, inside)
    } else if shared.read_only {
        archive.append_dir_all(inside, &shared.host)
    } else {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_data(&mut header, format!("{inside}/"), std::io::empty())
    };
    copied.doing("copy", &shared.host)
}
