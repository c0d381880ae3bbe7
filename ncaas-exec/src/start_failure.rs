//! Why a container, or a command in a container, could not be started.
//!
//! The engines' messages differ from version to version, say `no such file` for a script whose interpreter is missing,
//! and some engines start the container of such a script, which then exits with 1. So the file is examined here. Each
//! request takes 50 to 90 ms: system programs are examined only after a failure.

use ncaas_core::engine::Engine;
use ncaas_core::engine::executable::CommandLookup;
use ncaas_core::failure::{Failure, Kind, Result};

/// Folders of system programs.
const SYSTEM_FOLDERS: [&str; 6] = ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"];

/// Whether a command is to be examined before the start: any path outside the system's folders.
pub(crate) fn needs_examination(command: &str) -> bool {
    command.contains('/') && !SYSTEM_FOLDERS.iter().any(|folder| command.starts_with(folder))
}

/// Examines the program of a created container. Fails with [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`] or
/// [`Kind::BadInterpreter`] if it cannot be started.
pub(crate) async fn examine_program(engine: &Engine, id: &str) -> Result<()> {
    let no_cause = Failure::new(Kind::EngineError, "");
    match explain_start(engine, id, no_cause.clone()).await {
        found if found == no_cause => Ok(()),
        found => Err(found),
    }
}

/// The cause of a container's failed start if it can be found, else `failure`.
pub(crate) async fn explain_start(engine: &Engine, id: &str, failure: Failure) -> Failure {
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let command = inspected.path.unwrap_or_default();
    let workdir = config.working_dir.as_deref().unwrap_or_default();
    let lookup = CommandLookup::new(engine, id, workdir, config.env.as_deref().unwrap_or_default());
    explain(lookup, &command, failure).await
}

/// The cause of a failed start of a command in a running container if it can be found, else `failure`.
pub(crate) async fn explain_exec(
    engine: &Engine,
    id: &str,
    command: &str,
    workdir: Option<&str>,
    failure: Failure,
) -> Failure {
    if let Err(missing) = check_workdir(engine, id, workdir).await {
        return missing;
    }
    let Ok(inspected) = engine.inspect(id).await else { return failure };
    let config = inspected.config.unwrap_or_default();
    let workdir = workdir.or(config.working_dir.as_deref()).unwrap_or_default();
    let lookup = CommandLookup::new(engine, id, workdir, config.env.as_deref().unwrap_or_default());
    explain(lookup, command, failure).await
}

/// Checks that the working directory of a command in a container exists; `workdir` replaces the container's.
pub(crate) async fn check_workdir(engine: &Engine, id: &str, workdir: Option<&str>) -> Result<()> {
    let inspected = engine.inspect(id).await?;
    let own = inspected.config.and_then(|config| config.working_dir).unwrap_or_default();
    let path = workdir.unwrap_or(&own);
    if !path.starts_with('/') || engine.stat_target(id, path).await?.is_some() {
        return Ok(());
    }
    let message = format!("the working directory `{path}` does not exist in `{id}`");
    Err(Failure::new(Kind::FileNotFound, message).hint("name another one with `ncaas-exec in --workdir PATH`"))
}

/// The cause that is found for a command, else `failure`.
async fn explain(lookup: CommandLookup<'_>, command: &str, failure: Failure) -> Failure {
    let cannot = format!("cannot start `{command}`: it");
    match lookup.find(command).await {
        Ok(None) if command.is_empty() => failure,
        Ok(None) => {
            Failure::new(Kind::ScriptNotFound, format!("{cannot} is not in the image")).hint(if command.contains('/') {
                "check the path: a relative path starts at the image's working directory"
            } else {
                "a command without a `/` is searched for in the image's PATH; write `./NAME` for a script"
            })
        }
        Ok(Some((path, info))) => match lookup.check_start(&cannot, &path, &info).await {
            Err(cause) if cause.kind != Kind::EngineUnreachable && cause.kind != Kind::EngineError => cause,
            _ => failure,
        },
        Err(_) => failure,
    }
}
