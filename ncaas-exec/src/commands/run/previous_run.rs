//! The traces of an earlier run of the same job: its container, or its saved record.

use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};

/// The container of this job, if one exists.
pub(super) async fn find_container(engine: &Engine, record: &Record) -> Result<Option<Container>> {
    let Some(job) = record.job() else { return Ok(None) };
    let name = layout::container_name(&job, record.require("io_dir")?);
    let inspected = match engine.inspect(&name).await {
        Ok(inspected) => inspected,
        Err(failure) if failure.kind == Kind::ContainerNotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let own = engine.record_of_container(&inspected).await?;
    if own.and_then(|own| own.identity()) != record.identity() {
        return Err(Failure::new(Kind::NameInUse, format!("the container `{name}` belongs to another job"))
            .hint(format!("rename it, or remove it: `docker rm {name}`")));
    }
    Ok(Some(container_from_inspect(&inspected)))
}

/// Whether the engine may have a container of this job: it has one, or does not answer.
pub(super) async fn may_have_container(engine: &Engine, record: &Record) -> bool {
    match find_container(engine, record).await {
        Ok(found) => found.is_some(),
        Err(failure) => failure.kind != Kind::NameInUse,
    }
}

/// Whether a container was created and never started, because the run that created it was interrupted.
pub(super) fn is_unstarted(container: &Container) -> bool {
    container.state == "created" && !container.has_ended()
}

/// How the job ended, from its saved record; the container may have been removed since.
pub(super) fn saved_end(record: &Record) -> Option<Known> {
    record.job()?;
    let saved = JobFolder::for_record(record).ok()?.saved_record()?;
    let known = saved.known().ok()?;
    if saved.has_error() || !known.container.as_ref()?.has_ended() {
        return None;
    }
    Some(Known {
        image: known.image,
        image_id: known.image_id,
        container: known.container,
        logs: known.logs,
        results: known.results,
        results_file: known.results_file,
        ..Known::default()
    })
}
