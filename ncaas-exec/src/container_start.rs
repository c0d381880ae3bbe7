//! Creating, starting and removing containers. A container that cannot be started is removed again.

use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use ncaas_core::duration::format_duration;
use ncaas_core::engine::{Engine, EngineContext, Subject, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Container;
use tokio::time::timeout;

use crate::container_spec::ContainerSpec;
use crate::file_sharing::FileSharing;
use crate::start_failure;

/// How long the engine may take to start a container. It never returns if the image has a FIFO as `/etc/passwd`.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long the removal of a container that could not be started may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(30);

/// Creates the container and returns its id. Fails with [`Kind::NameInUse`] if a container with this name exists.
pub(crate) async fn create_container(engine: &Engine, spec: &ContainerSpec) -> Result<String> {
    let options = CreateContainerOptions {
        name: spec.name.clone(),
        platform: spec.settings.platform.clone().unwrap_or_default(),
    };
    let sharing = FileSharing::new(engine, spec).await?;
    let name = spec.name.as_deref().unwrap_or("a container");
    let created = engine.docker().create_container(Some(options), spec.create_body(&sharing.mounted)).await;
    let created =
        created.map_err(|error| refusal(&error, "create", Subject::NewContainer { name, image: &spec.image }));
    created.map(|created| created.id)
}

/// Starts a created container, after copying the inputs that cannot be mounted. A container that cannot be started is
/// removed, and the failure says why. Fails with [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`]
/// or [`Kind::BadInterpreter`] if the program cannot be executed.
pub(crate) async fn start_container(engine: &Engine, id: &str, spec: &ContainerSpec) -> Result<Container> {
    let started = async {
        FileSharing::new(engine, spec).await?.copy_into(engine, id).await?;
        start_prepared(engine, id, spec.name.as_deref().unwrap_or(id)).await
    };
    match started.await {
        Ok(()) => engine.container(id).await,
        Err(failure) => {
            // If the removal fails too, the next run finds the container by its labels. An engine that is stuck does
            // not answer.
            let _ = timeout(REMOVE_LIMIT, remove_container(engine, id, true)).await;
            Err(failure)
        }
    }
}

/// Starts a container whose files are in place. Does nothing if it runs already. `name` is for messages.
pub(crate) async fn start_prepared(engine: &Engine, id: &str, name: &str) -> Result<()> {
    let Ok(started) = timeout(START_LIMIT, engine.docker().start_container(id, None)).await else {
        let limit = format_duration(START_LIMIT.as_secs_f64());
        return Err(Failure::new(
            Kind::Timeout,
            format!("cannot start `{name}`: the engine did not start it within {limit}"),
        )
        .hint("its image may have a FIFO in place of a file that the engine reads, such as `/etc/passwd`"));
    };
    let Err(error) = started else { return Ok(()) };
    let failure = refusal(&error, "start", Subject::Container(name));
    let failure = match error {
        // The container exists: its network, or another object that it needs, does not.
        Error::DockerResponseServerError { status_code: 404, message } if engine.inspect(id).await.is_ok() => {
            Failure::new(Kind::Usage, format!("cannot start `{name}`: {}", message.trim()))
        }
        _ => failure,
    };
    Err(start_failure::find_start_cause(engine, id).await.unwrap_or(failure))
}

/// Removes a container and its anonymous volumes. Does nothing if it does not exist.
pub(crate) async fn remove_container(engine: &Engine, id: &str, force: bool) -> Result<()> {
    let id = reference::container(id)?;
    let options = RemoveContainerOptions { v: true, force, ..Default::default() };
    match engine.docker().remove_container(id, Some(options)).await {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        // Another client is removing it.
        Err(Error::DockerResponseServerError { status_code: 409, ref message }) if message.contains("in progress") => {
            Ok(())
        }
        removed => removed.engine_context("remove", Subject::Container(id)),
    }
}

/// The failure of a request that the engine refused. Status 400 means that the request itself is wrong: a retry cannot
/// help.
fn refusal(error: &Error, verb: &str, about: Subject<'_>) -> Failure {
    let failure = ncaas_core::engine::failure(error, verb, about);
    match error {
        Error::DockerResponseServerError { status_code: 400, .. } if failure.kind == Kind::EngineError => {
            Failure { kind: Kind::Usage, ..failure }
        }
        _ => failure,
    }
}
