//! What became of a job when it was run before.

use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};

/// The container of this job that is there already.
pub(super) async fn made_before(engine: &Engine, record: &Record) -> Result<Option<Container>> {
    let Some(job) = record.job() else { return Ok(None) };
    let name = layout::container_name(&job, record.require("io_dir")?);
    let inspected = match engine.inspect(&name).await {
        Ok(inspected) => inspected,
        Err(failure) if failure.kind == Kind::ContainerNotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let label = inspected.config.as_ref().and_then(|config| config.labels.as_ref()?.get(labels::JOB));
    if label != Some(&job.id) {
        return Err(Failure::new(Kind::NameInUse, format!("a container `{name}` is there that is not of this job"))
            .hint(format!("rename it, or remove it: `docker rm {name}`")));
    }
    Ok(Some(container_from_inspect(&inspected)))
}

/// Whether the engine has a container of this job, or does not say.
pub(super) async fn has_container(engine: &Engine, record: &Record) -> bool {
    match made_before(engine, record).await {
        Ok(made) => made.is_some(),
        Err(failure) => failure.kind != Kind::NameInUse,
    }
}

/// Whether a container was made and never started: whoever made it was cut short.
pub(super) fn is_fresh(container: &Container) -> bool {
    container.state == "created" && !container.has_ended()
}

/// How it ended: a saved record tells it, also after its container has gone.
pub(super) fn ended_before(record: &Record) -> Option<Known> {
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
