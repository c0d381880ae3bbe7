//! Which container a record or an argument means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, Owner, labels};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};
use ncaas_core::tool::Tool;

/// The containers that arguments name, or without any the records on stdin.
pub(crate) fn input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|name| of_name(name))))
}

/// A record of which nothing is known but its container.
pub(crate) fn of_name(name: &str) -> Record {
    Record::new(&Known {
        container: Some(Container { id: name.to_owned(), ..Container::default() }),
        ..Known::default()
    })
}

/// The id or name of the container that a record means.
pub(crate) fn find_container(record: &Record) -> Result<String> {
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

/// Whether nothing is known but the container: the rest is in its label.
pub(crate) fn is_unknown(record: &Record) -> bool {
    record.as_map().keys().all(|field| field == "container")
}

/// Looks at a record's container, and writes into the record how it fares. A record that knows nothing but its
/// container has from its label what it was started from.
pub(crate) async fn look(engine: &Engine, record: &mut Record) -> Result<Container> {
    let inspected = engine.inspect(&find_container(record)?).await?;
    let container = container_from_inspect(&inspected);
    if is_unknown(record) {
        *record = started_from(&inspected).unwrap_or_default();
    }
    record.merge(&Known { container: Some(container.clone()), ..Known::default() });
    Ok(container)
}

/// The record that a container was started from.
fn started_from(inspected: &ContainerInspectResponse) -> Option<Record> {
    let label = inspected.config.as_ref()?.labels.as_ref()?.get(labels::RECORD)?;
    Record::parse(label.as_bytes()).ok()
}

/// Writes into a record how its container fares. What one that has ended left on this machine becomes the user's.
pub(crate) async fn tell(engine: &Engine, record: &mut Record, container: Container) -> Result<()> {
    let (id, has_ended) = (container.id.clone(), container.has_ended());
    record.set_container(container);
    if has_ended { repair_ownership(engine, record, &id).await } else { Ok(()) }
}

/// Makes what an ended container left in its folders of this machine the user's, whoever it ran as.
pub(crate) async fn repair_ownership(engine: &Engine, record: &Record, container: &str) -> Result<()> {
    if let Ok(job) = JobFolder::for_record(record) {
        let folders = match job.open_existing()? {
            Some(folder) => job.mounted(&folder)?,
            None => Vec::new(),
        };
        return engine.repair_ownership(container, &folders, Owner::current()).await;
    }
    let (Some(io_dir), None) = (record.text("io_dir"), record.job()) else { return Ok(()) };
    let folders = [layout::RESULTS, layout::LOGS].map(|name| Path::new(io_dir).join(name)).into_iter();
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.exists()).collect();
    // A development container can see the folders of jobs too, and one of these may run.
    let is_jobs = |name: &OsStr| name.as_encoded_bytes().starts_with(b"job__");
    engine.repair_ownership_except(container, &folders, Owner::current(), is_jobs).await
}
