//! The traces of an earlier run of the same job: its container, or its saved record.

use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::RenameContainerOptions;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, STOP_GRACE_S, Subject, labels};
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use ncaas_core::tool::Tool;
use tokio::time::timeout;

use crate::{container_start, targets};

/// How long an engine may take to answer after a failure. It does not answer about a container whose start is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The container of this job, if one exists, with the io-dir that it was started with.
pub(super) async fn find_container(engine: &Engine, record: &Record) -> Result<Option<(Container, Option<String>)>> {
    let (Some(job), Some(name)) = (record.job(), record.container_name()?) else { return Ok(None) };
    let Some(inspected) = engine.inspect(&name).await.none_if(&[Kind::ContainerNotFound])? else { return Ok(None) };
    let own = engine.record_of_container(&inspected).await?;
    let belongs = match &own {
        Some(own) => own.identity() == record.identity(),
        // It carries the job's id, but no record.
        None => inspected.config.as_ref().and_then(|config| config.labels.as_ref()?.get(labels::JOB)) == Some(&job.id),
    };
    if !belongs {
        return Err(Failure::new(Kind::NameInUse, format!("the container `{name}` belongs to another job"))
            .hint(format!("rename it, or remove it: `docker rm {name}`")));
    }
    let io_dir = own.and_then(|own| own.text("io_dir").map(str::to_owned));
    Ok(Some((container_from_inspect(&inspected), io_dir)))
}

/// Same as [`find_container`]; none if the container was never started.
pub(super) async fn find_started(engine: &Engine, record: &Record) -> Result<Option<(Container, Option<String>)>> {
    Ok(find_container(engine, record).await?.filter(|(container, _)| !is_unstarted(container)))
}

/// Makes room for a new attempt at a job: the container of an earlier attempt whose results are saved gets another
/// name. `rm` has kept it because the job wrote other files. A container whose results are not saved is taken up by the
/// new attempt.
pub(super) async fn set_aside_earlier_attempt(tool: Tool, engine: &Engine, record: &Record) -> Result<()> {
    let Some(attempt) = record.job().and_then(|job| job.attempt) else { return Ok(()) };
    let Some(name) = record.container_name()? else { return Ok(()) };
    let Some(inspected) = engine.inspect(&name).await.none_if(&[Kind::ContainerNotFound])? else { return Ok(()) };
    let Some(earlier) = engine.record_of_container(&inspected).await? else { return Ok(()) };
    let number = earlier.job().map_or(1, |job| job.attempt_number());
    let is_earlier = earlier.identity() == record.identity() && number < attempt;
    let container = container_from_inspect(&inspected);
    if !is_earlier || !container.has_ended() || !saved_end(&earlier).is_some_and(|end| end.is_collected()) {
        return Ok(());
    }
    let aside = format!("{name}-attempt-{number}");
    let options = RenameContainerOptions { name: aside.clone() };
    engine
        .docker()
        .rename_container(&container.id, options)
        .await
        .engine_context("rename", Subject::Container(&name))?;
    tool.note(&format!(
        "the container of the earlier attempt is kept as `{aside}`: `ncaas-sync diff {aside}` lists its files, `docker cp` \
         copies them, `ncaas-exec rm --force {aside}` discards them"
    ));
    Ok(())
}

/// Uses the io-dir that the job's container was started with: the job's results are there, wherever this run is. Fails
/// with [`Kind::FileNotFound`] if that io-dir is not on this machine.
pub(super) fn use_io_dir_of_container(tool: Tool, record: &mut Record, container: &str, io_dir: &str) -> Result<()> {
    if record.text("io_dir") == Some(io_dir) {
        return Ok(());
    }
    if !Path::new(io_dir).is_dir() {
        let message =
            format!("the job's container `{container}` writes to the io-dir `{io_dir}`, which does not exist");
        return Err(Failure::new(Kind::FileNotFound, message).hint(format!(
            "run this on the machine that started the job, or remove the container with `ncaas-exec rm {container}`"
        )));
    }
    tool.warn(record, Some(&format!("using the io-dir that the job was started with: `{io_dir}`")));
    record.set("io_dir", &io_dir);
    Ok(())
}

/// Stops the container that a job of a cancelled submission still has. Later stages save and remove it: the record
/// of such a job has no error.
pub(super) async fn stop_cancelled(tool: Tool, connection: &LazyEngine, record: &mut Record) -> Result<()> {
    let stop = async |engine: &Engine, record: &mut Record| {
        let Some((container, Some(io_dir))) = find_container(engine, record).await? else { return Ok(()) };
        if is_unstarted(&container) {
            return container_start::remove_container(engine, &container.id, false).await;
        }
        use_io_dir_of_container(tool, record, &container.name, &io_dir)?;
        if !container.has_ended() {
            JobFolder::for_record(record)?.note_cancellation()?;
            engine.stop(&container.id, STOP_GRACE_S).await?;
        }
        record.set("error", &());
        targets::update_record(engine, record, engine.container(&container.id).await?).await
    };
    connection.with_retry(tool, record, stop).await
}

/// Whether the engine may have a container of this job: it has one, or does not answer.
pub(super) async fn may_have_container(engine: &Engine, record: &Record) -> bool {
    match timeout(ANSWER_LIMIT, find_container(engine, record)).await {
        Ok(Ok(found)) => found.is_some(),
        Ok(Err(failure)) => failure.kind != Kind::NameInUse,
        Err(_) => true,
    }
}

/// Whether a container was created and never started, because the run that created it was interrupted.
pub(super) fn is_unstarted(container: &Container) -> bool {
    container.was_never_started() && !container.has_ended()
}

/// The saved record of a job that has ended without an error; its container may have been removed since.
pub(super) fn saved_end(record: &Record) -> Option<Record> {
    record.job()?;
    let saved = JobFolder::for_record(record).ok()?.saved_record()?;
    let has_ended = saved.container().is_some_and(|container| container.has_ended());
    (has_ended && !saved.has_error()).then_some(saved)
}

/// Whether a job from a bucket has ended here, and its container was removed before its results were collected: another
/// job of the machine cleared what a killed pipe had left. Its log alone is not its end: it runs again.
pub(super) async fn are_results_lost(engine: &Engine, record: &Record, end: &Record) -> bool {
    record.is_from_bucket() && !end.is_collected() && matches!(find_container(engine, record).await, Ok(None))
}
