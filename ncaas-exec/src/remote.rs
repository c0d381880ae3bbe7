//! Files for a container on another machine: what would be mounted here is copied into it before it starts.

use ncaas_core::engine::Engine;
use ncaas_core::failure::{IoContext, Result};

use crate::plan::{Plan, Shared};

/// Copies what the plan shares into the container that was made from it: inputs with their content, and folders to
/// write to, which anybody may write to.
pub(crate) async fn bring(engine: &Engine, id: &str, plan: &Plan) -> Result<()> {
    let shared = plan.shared.clone();
    engine
        .upload(id, "/", move |archive| {
            for one in &shared {
                append(archive, one)?;
            }
            Ok(())
        })
        .await
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
