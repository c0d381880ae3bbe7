//! The containers a verb works on, named by its arguments or by records on stdin.

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::labels;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};
use ncaas_core::tool::Tool;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::saved_files::SavedFiles;

/// How many containers are followed at once. One that runs for days must not delay others.
pub(crate) const MAX_FOLLOWED: usize = 1024;

/// The containers named by arguments, or else the records on stdin.
pub(crate) fn input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|container| {
        let mut record = Record::default();
        record.set("container", &json!({ "id": container }));
        record
    })))
}

/// The saved files that a record made from an argument stands for; none if it stands for a container.
///
/// # Errors
/// If the file does not exist.
pub(crate) fn saved_files_of_argument(record: &Record, arguments: &[String]) -> Result<Option<SavedFiles>> {
    let argument = container_reference(record).ok().filter(|argument| arguments.contains(argument));
    argument.map_or(Ok(None), |argument| SavedFiles::from_argument(&argument))
}

/// The job or container that a line or a sample belongs to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Owner {
    /// The job, if the container belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<JobOfOwner>,
    /// The container's name, if it belongs to no job and there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
}

/// The job that a line or a sample belongs to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobOfOwner {
    /// The job's id.
    id: String,
    /// The number of the dataset in its submission.
    dataset: u64,
}

impl Owner {
    /// `several`: whether there are other containers from which it must be distinguished.
    pub(crate) fn from_record(record: &Record, several: bool) -> Self {
        let job = record.job().map(|job| JobOfOwner { id: job.id, dataset: job.dataset });
        let container = if several && job.is_none() { record.container() } else { None };
        Owner { job, container: container.map(|container| container.name) }
    }
}

/// The id or name of the record's container.
pub(crate) fn container_reference(record: &Record) -> Result<String> {
    let container = record.container().ok_or_else(|| Failure::missing_field("container"))?;
    let name = if container.id.is_empty() { container.name } else { container.id };
    if name.is_empty() { Err(Failure::missing_field("container.id")) } else { Ok(name) }
}

/// Checks that a container belongs to the record's job, by the label that it was started with. A record may come from a
/// place that others can write.
///
/// # Errors
/// [`Kind::BadRecord`] if it belongs to another job.
pub(crate) fn require_own_container(record: &Record, inspected: &ContainerInspectResponse) -> Result<()> {
    let (Some(job), Some(started_from)) = (record.job(), record_from_label(inspected)) else { return Ok(()) };
    let own = started_from.job().unwrap_or_default();
    let same = |a: &Job, b: &Job| a.id == b.id && a.dataset == b.dataset && a.group == b.group && a.bucket == b.bucket;
    if same(&job, &own) {
        return Ok(());
    }
    let name = inspected.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let words = format!("container `{name}` belongs to job `{}`, not to job `{}` of the record", own.id, job.id);
    Err(Failure::new(Kind::BadRecord, words))
}

/// The record that a container was started with.
fn record_from_label(inspected: &ContainerInspectResponse) -> Option<Record> {
    let label = inspected.config.as_ref()?.labels.as_ref()?.get(labels::RECORD)?;
    Record::parse(label.as_bytes()).ok()
}

/// Adds the engine's information about the container. A record that names only a container is first replaced by the
/// record that the container was started with.
pub(crate) fn complete_record(record: &mut Record, inspected: &ContainerInspectResponse) {
    if record.job().is_none()
        && let Some(started_from) = record_from_label(inspected)
    {
        *record = started_from;
    }
    record.merge(&Known { container: Some(container_from_inspect(inspected)), ..Known::default() });
}
