//! A container made from its plan and started, or no container at all.

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use ncaas_core::engine::{Engine, EngineContext, Subject, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Container;

use crate::diagnosis;
use crate::plan::Plan;
use crate::sharing::Sharing;

/// The image as the engine has it.
///
/// # Errors
/// [`Kind::ImageNotFound`].
pub(crate) async fn image(engine: &Engine, name: &str) -> Result<ImageInspect> {
    let name = reference::image(name)?;
    engine.docker().inspect_image(name).await.engine_context("run", Subject::Image(name))
}

/// Makes the container. Its id.
///
/// # Errors
/// [`Kind::NameInUse`] where a container of its name is there already.
pub(crate) async fn create(engine: &Engine, plan: &Plan) -> Result<String> {
    let options = CreateContainerOptions {
        name: plan.name.clone(),
        platform: plan.settings.platform.clone().unwrap_or_default(),
    };
    let sharing = Sharing::of(engine, plan).await?;
    let about = Subject::NewContainer { name: plan.name.as_deref().unwrap_or("a container"), image: &plan.image };
    let created = engine.docker().create_container(Some(options), plan.body(&sharing.mounted)).await;
    match created {
        Ok(created) => Ok(created.id),
        Err(error) if is_taken_name(&error) => {
            let words = format!(
                "cannot create `{}`: a container of that name is there already",
                plan.name.as_deref().unwrap_or_default()
            );
            Err(Failure::new(Kind::NameInUse, words)
                .hint("choose another name, or remove that container with `ncaas-exec rm`"))
        }
        Err(error) => Err(refused(&error, "create", about)),
    }
}

/// Podman (4.3) says with a 500 that a name is taken.
fn is_taken_name(error: &Error) -> bool {
    let Error::DockerResponseServerError { status_code: 500, message } = error else { return false };
    message.contains("is already in use")
}

/// Starts the container that was made, after its inputs were brought to it where it cannot see this machine's. One that
/// cannot be started is removed, and its failure says why.
///
/// # Errors
/// [`Kind::ScriptNotFound`], [`Kind::ScriptNotExecutable`], [`Kind::BadInterpreter`], ...
pub(crate) async fn start(engine: &Engine, id: &str, plan: &Plan) -> Result<Container> {
    let started = async {
        Sharing::of(engine, plan).await?.bring(engine, id).await?;
        start_as_is(engine, id, plan.name.as_deref().unwrap_or(id)).await
    };
    match started.await {
        Ok(()) => engine.container(id).await,
        Err(failure) => {
            // What cannot be removed now carries our labels, and the next run finds it.
            let _ = remove(engine, id, true).await;
            Err(failure)
        }
    }
}

/// Starts a container, which people know by `name`. One that runs is left as it is.
async fn start_as_is(engine: &Engine, id: &str, name: &str) -> Result<()> {
    let Err(error) = engine.docker().start_container(id, None).await else { return Ok(()) };
    let failure = refused(&error, "start", Subject::Container(name));
    let failure = match error {
        // What is not there is its network, or what else it is to be given.
        Error::DockerResponseServerError { status_code: 404, message } if engine.inspect(id).await.is_ok() => {
            Failure::new(Kind::Usage, format!("cannot start `{name}`: {}", message.trim()))
        }
        _ => failure,
    };
    Err(diagnosis::of_start(engine, id, failure).await)
}

/// Removes a container and its anonymous volumes. One that is gone already is as it should be.
pub(crate) async fn remove(engine: &Engine, id: &str, force: bool) -> Result<()> {
    let id = reference::container(id)?;
    let options = RemoveContainerOptions { v: true, force, ..Default::default() };
    match engine.docker().remove_container(id, Some(options)).await {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        // Another one is removing it.
        Err(Error::DockerResponseServerError { status_code: 409, ref message }) if message.contains("in progress") => {
            Ok(())
        }
        removed => removed.engine_context("remove", Subject::Container(id)),
    }
}

/// The failure of a request that the engine refused. A 400 says that what was asked for cannot be, and no second try
/// will change that.
fn refused(error: &Error, verb: &str, about: Subject<'_>) -> Failure {
    let failure = ncaas_core::engine::failure(error, verb, about);
    match error {
        Error::DockerResponseServerError { status_code: 400, .. } if failure.kind == Kind::EngineError => {
            Failure { kind: Kind::Usage, ..failure }
        }
        _ => failure,
    }
}
