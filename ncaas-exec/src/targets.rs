//! The containers that a verb works on, named by arguments or by records.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, Owner, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, RecordFields};
use ncaas_core::tool::Tool;

/// The argument that means the newest container.
const LAST: &str = "last";

/// The input of a verb: one record for each named container, or the records on stdin if none is named.
pub(crate) fn target_input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|name| record_for_container(name))))
}

/// One record for each container of a scheduler's job.
pub(crate) async fn placement_input(engine: &Engine, placement: &str) -> Result<Input> {
    let found = engine.list_labelled(&[labels::TOOL, &format!("{}={placement}", labels::PLACEMENT)]).await?;
    Ok(Input::records(found.iter().map(|container| record_for_container(&container.id))))
}

/// A record that contains only a container.
pub(crate) fn record_for_container(name: &str) -> Record {
    Record::new(&RecordFields {
        container: Some(Container { id: name.to_owned(), ..Container::default() }),
        ..RecordFields::default()
    })
}

/// The id or name of a record's container.
pub(crate) fn container_id(record: &Record) -> Result<String> {
    if let Some(container) = record.container() {
        let id = if container.id.is_empty() { container.name } else { container.id };
        if !id.is_empty() {
            return Ok(id);
        }
    }
    match (record.job(), record.text("io_dir")) {
        (Some(job), Some(io_dir)) => Ok(layout::container_name(&job, io_dir)),
        _ => Err(Failure::missing_field("container")),
    }
}

/// Whether the record contains only a container: its other fields are in the container's label.
pub(crate) fn has_only_container(record: &Record) -> bool {
    record.as_map().keys().all(|field| field == "container")
}

/// Whether the io-dir of a record belongs to this user.
pub(crate) fn belongs_to_user(record: &Record) -> bool {
    let io_dir = record.text("io_dir").and_then(|io_dir| std::fs::metadata(io_dir).ok());
    io_dir.is_some_and(|io_dir| io_dir.uid() == Owner::current().uid)
}

/// Inspects a record's container and updates the record. A record that contains only a container is replaced by the
/// record in the container's label.
///
/// # Errors
/// [`Kind::ContainerNotFound`]; [`Kind::WrongContainer`] if the record's job has another container.
pub(crate) async fn inspect_target(engine: &Engine, record: &mut Record) -> Result<Container> {
    let inspected = engine.inspect_for(record, &container_id(record)?).await;
    update_from_inspect(engine, record, inspected).await
}

/// The same for a verb that ends or removes the container: the container's own label must name the record's job. A record
/// that contains only a container has no job: the user named the container.
///
/// # Errors
/// As [`inspect_target`].
pub(crate) async fn inspect_labelled_target(engine: &Engine, record: &mut Record) -> Result<Container> {
    let inspected = engine.inspect_labelled_for(record, &container_id(record)?).await;
    update_from_inspect(engine, record, inspected).await
}

async fn update_from_inspect(
    engine: &Engine,
    record: &mut Record,
    inspected: Result<ContainerInspectResponse>,
) -> Result<Container> {
    let inspected = match inspected {
        Err(failure) if failure.kind == Kind::ContainerNotFound && has_only_container(record) => {
            let found = find_by_job(engine, &container_id(record)?).await?.ok_or(failure)?;
            engine.inspect(&found).await?
        }
        inspected => inspected?,
    };
    if has_only_container(record) {
        *record = engine.record_of_container(&inspected).await?.unwrap_or_default();
    }
    let container = container_from_inspect(&inspected);
    record.merge(&RecordFields { container: Some(container.clone()), ..RecordFields::default() });
    Ok(container)
}

/// Checks that a saved record does not name the container of another job.
///
/// # Errors
/// [`Kind::WrongContainer`].
pub(crate) async fn check_saved_container(engine: &Engine, record: &Record, saved: &Container) -> Result<()> {
    let id = if saved.id.is_empty() { &saved.name } else { &saved.id };
    match engine.inspect_labelled_for(record, id).await {
        Err(failure) if failure.kind == Kind::WrongContainer => {
            Err(failure.context("the saved record of the job is not its own"))
        }
        // The container was removed, or the engine does not answer: then no later stage reaches it either.
        _ => Ok(()),
    }
}

/// The name of the container that an argument means: a container's name or id, a job's id or folder, the name of a dataset,
/// or `last`.
pub(crate) async fn resolve_container(engine: &Engine, name: &str) -> Result<String> {
    match engine.inspect(name).await {
        Err(failure) if failure.kind == Kind::ContainerNotFound => find_by_job(engine, name).await?.ok_or(failure),
        inspected => inspected.map(|_| name.to_owned()),
    }
}

/// The newest container of a job or dataset. `None` if there is none.
///
/// # Errors
/// [`Kind::Usage`] if the datasets of a job have several containers.
async fn find_by_job(engine: &Engine, name: &str) -> Result<Option<String>> {
    let found = engine.list_labelled(&[labels::TOOL]).await?;
    if name == LAST {
        return Ok(found.into_iter().next().map(|container| container.id));
    }
    let name = layout::base_name(name);
    let of_job: Vec<_> =
        found.iter().filter(|container| container.labels.get(labels::JOB).is_some_and(|id| id == name)).collect();
    if let [first, second, ..] = of_job.as_slice() {
        let message = format!("the job `{name}` has several containers: `{}`, `{}`, ...", first.name, second.name);
        return Err(Failure::new(Kind::Usage, message).hint("name one of them"));
    }
    let is_dataset = |record: Record| {
        record.dataname().is_some_and(|data| data.names().iter().any(|data| layout::base_name(data) == name))
    };
    let of_dataset = || found.iter().find(|container| container.record().is_some_and(is_dataset));
    Ok(of_job.first().copied().or_else(of_dataset).map(|container| container.id.clone()))
}

/// Writes the state of a container into its record. If it has ended, the user becomes the owner of its files.
pub(crate) async fn update_record(engine: &Engine, record: &mut Record, container: Container) -> Result<()> {
    let (id, has_ended) = (container.id.clone(), container.has_ended());
    record.set_container(container);
    if has_ended { take_ownership(engine, record, &id).await } else { Ok(()) }
}

/// Makes the user the owner of the files that an ended container wrote to this machine.
pub(crate) async fn take_ownership(engine: &Engine, record: &Record, container: &str) -> Result<()> {
    if let Ok(job) = JobFolder::for_record(record) {
        return engine.repair_ownership(container, &job.mounted()?, Owner::current()).await;
    }
    let (Some(io_dir), None) = (record.text("io_dir"), record.job()) else { return Ok(()) };
    let folders = [layout::RESULTS, layout::LOGS].map(|name| Path::new(io_dir).join(name)).into_iter();
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.exists()).collect();
    // A development container also mounts the folders of jobs, which may still run.
    let is_job_folder = |name: &OsStr| name.as_encoded_bytes().starts_with(b"job__");
    engine.repair_ownership_except(container, &folders, Owner::current(), is_job_folder).await
}
