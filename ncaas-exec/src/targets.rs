//! The containers that a verb works on, named by arguments or by records.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, Owner};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};
use ncaas_core::tool::Tool;

/// The input of a verb: one record for each named container, or the records on stdin if none is named.
pub(crate) fn target_input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|name| record_for_container(name))))
}

/// A record that contains only a container.
pub(crate) fn record_for_container(name: &str) -> Record {
    Record::new(&Known {
        container: Some(Container { id: name.to_owned(), ..Container::default() }),
        ..Known::default()
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

/// Inspects a record's container and updates the record. A record that contains only a container is replaced by the
/// record in the container's label.
pub(crate) async fn inspect_target(engine: &Engine, record: &mut Record) -> Result<Container> {
    let inspected = engine.inspect_for(record, &container_id(record)?).await?;
    let container = container_from_inspect(&inspected);
    if has_only_container(record) {
        *record = engine.record_of_container(&inspected).await?.unwrap_or_default();
    }
    record.merge(&Known { container: Some(container.clone()), ..Known::default() });
    Ok(container)
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
        engine.repair_ownership(container, &job.mounted()?, Owner::current()).await?;
        job.remove_staged_inputs();
        return Ok(());
    }
    let (Some(io_dir), None) = (record.text("io_dir"), record.job()) else { return Ok(()) };
    let folders = [layout::RESULTS, layout::LOGS].map(|name| Path::new(io_dir).join(name)).into_iter();
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.exists()).collect();
    // A development container also mounts the folders of jobs, which may still run.
    let is_job_folder = |name: &OsStr| name.as_encoded_bytes().starts_with(b"job__");
    engine.repair_ownership_except(container, &folders, Owner::current(), is_job_folder).await
}
