//! Whether jobs can run a script of the container. A job would fail at its start, perhaps days later on another
//! machine; here the mistake is found before the image is saved.

use std::path::Path;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::engine::executable::CommandLookup;
use ncaas_core::engine::path::PathKind;
use ncaas_core::failure::{Failure, Kind, Result};

/// Checks that a script can be started in the container, and returns its absolute path. Fails with
/// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`], [`Kind::BadInterpreter`].
pub(super) async fn check(engine: &Engine, inspected: &ContainerInspectResponse, script: &str) -> Result<String> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let config = inspected.config.as_ref();
    let workdir = config.and_then(|config| config.working_dir.as_deref()).unwrap_or_default();
    let env = config.and_then(|config| config.env.as_deref()).unwrap_or_default();
    let lookup = CommandLookup::new(engine, id, workdir, env);
    let path = lookup.absolute(script);
    let subject = format!("the script `{path}`");
    let not_found = |reason: &str| Failure::new(Kind::ScriptNotFound, format!("{subject} {reason}"));
    let Some((real, info)) = engine.stat_target(id, &path).await? else {
        return Err(not_found("does not exist in the container")
            .hint("give its path in the container, not its path on this machine"));
    };
    // An image has no files of mounts.
    let mounts = inspected.mounts.iter().flatten().filter_map(|mount| mount.destination.as_deref());
    if info.kind == PathKind::File
        && let Some(mount) = mounts.into_iter().find(|mount| Path::new(&real).starts_with(mount))
    {
        return Err(not_found(&format!("is in the mount `{mount}`, which the image will not have"))
            .hint("copy it to another folder of the container, and give its path there"));
    }
    lookup.check_start(&subject, &real, &info).await.map_err(|failure| {
        if failure.kind == Kind::ScriptNotExecutable {
            return failure.hint(format!("run in the container: `chmod +x {path}`"));
        }
        failure
    })?;
    Ok(path)
}
