//! Why a container, or a command in a container, could not be started.
//!
//! The engines' messages differ from version to version, say `no such file` for a script whose interpreter is missing,
//! and some engines start the container of such a script, which then exits with 1. So the file is examined here. Each
//! request takes 50 to 90 ms: system programs are examined only after a failure.

use bollard::models::ContainerConfig;
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
    find_start_cause(engine, id).await.map_or(Ok(()), Err)
}

/// The cause of a container's failed start; none if it cannot be found.
pub(crate) async fn find_start_cause(engine: &Engine, id: &str) -> Option<Failure> {
    let inspected = engine.inspect(id).await.ok()?;
    let config = inspected.config.unwrap_or_default();
    find_cause(engine, id, &inspected.path.unwrap_or_default(), &working_dir(&config), &config).await
}

/// The cause of a failed start of a command in a running container; none if it cannot be found. `workdir` replaces the
/// container's working directory.
pub(crate) async fn find_exec_cause(
    engine: &Engine,
    id: &str,
    command: &str,
    workdir: Option<&str>,
) -> Option<Failure> {
    let config = engine.inspect(id).await.ok()?.config.unwrap_or_default();
    let workdir = workdir.map_or_else(|| working_dir(&config), str::to_owned);
    match check_folder(engine, id, &workdir).await {
        Ok(()) => find_cause(engine, id, command, &workdir, &config).await,
        Err(missing) => Some(missing),
    }
}

/// Checks that the working directory of a command in a container exists; `workdir` replaces the container's.
pub(crate) async fn check_workdir(engine: &Engine, id: &str, workdir: Option<&str>) -> Result<()> {
    match workdir {
        Some(path) => check_folder(engine, id, path).await,
        None => {
            let config = engine.inspect(id).await?.config.unwrap_or_default();
            check_folder(engine, id, &working_dir(&config)).await
        }
    }
}

fn working_dir(config: &ContainerConfig) -> String {
    config.working_dir.clone().unwrap_or_default()
}

async fn check_folder(engine: &Engine, id: &str, path: &str) -> Result<()> {
    if !path.starts_with('/') || engine.stat_target(id, path).await?.is_some() {
        return Ok(());
    }
    let message = format!("the working directory `{path}` does not exist in `{id}`");
    Err(Failure::new(Kind::FileNotFound, message)
        .hint("create it in the container, or use `ncaas-exec in --workdir PATH CONTAINER COMMAND`"))
}

/// The cause that is found for a command.
async fn find_cause(
    engine: &Engine,
    id: &str,
    command: &str,
    workdir: &str,
    config: &ContainerConfig,
) -> Option<Failure> {
    let lookup = CommandLookup::new(engine, id, workdir, config.env.as_deref().unwrap_or_default());
    let subject = format!("cannot start `{command}`: it");
    let Some((path, info)) = lookup.find(command).await.ok()? else {
        let hint = if command.contains('/') {
            "check the path: a relative path starts at the container's working directory"
        } else {
            "a command without a `/` is searched for in the container's PATH; write `./NAME` for a script"
        };
        let failure = Failure::new(Kind::ScriptNotFound, format!("{subject} does not exist in the container"));
        return (!command.is_empty()).then(|| failure.hint(hint));
    };
    let cause = lookup.check_start(&subject, &path, &info).await.err()?;
    (!matches!(cause.kind, Kind::EngineUnreachable | Kind::EngineError)).then_some(cause)
}
