//! Which container a verb works on: named by its arguments, or by the records that come in.

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::labels;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::Tool;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::saved::Saved;

/// How many containers are followed at once: one that runs for days holds up no other.
pub(crate) const FOLLOWED: usize = 1024;

/// The containers that arguments name, or else the records on stdin.
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

/// The saved files that a record made of an argument stands for; none where it stands for a container.
///
/// # Errors
/// Where there is no such file.
pub(crate) fn named_file(record: &Record, arguments: &[String]) -> Result<Option<Saved>> {
    let argument = container(record).ok().filter(|argument| arguments.contains(argument));
    argument.map_or(Ok(None), |argument| Saved::named(&argument))
}

/// Whose a line or a sample is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Owner {
    /// The job, where the container is a job's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<JobOfOwner>,
    /// The container's name, where it is no job's and several were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
}

/// The job that a line or a sample belongs to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobOfOwner {
    /// The job's id.
    id: String,
    /// Which of the submission's datasets.
    dataset: u64,
}

impl Owner {
    /// `several`: whether there are other containers from which it is to be told apart.
    pub(crate) fn of(record: &Record, several: bool) -> Self {
        let job = record.job().map(|job| JobOfOwner { id: job.id, dataset: job.dataset });
        let container = if several && job.is_none() { record.container() } else { None };
        Owner { job, container: container.map(|container| container.name) }
    }
}

/// The id or name of the record's container.
pub(crate) fn container(record: &Record) -> Result<String> {
    let container = record.container().ok_or_else(|| Failure::missing_field("container"))?;
    let name = if container.id.is_empty() { container.name } else { container.id };
    if name.is_empty() { Err(Failure::missing_field("container.id")) } else { Ok(name) }
}

/// Adds to the record what the engine says of its container; first, where the record names nothing but a container,
/// the record that this was started from.
pub(crate) fn complete(record: &mut Record, inspected: &ContainerInspectResponse) {
    let label = || inspected.config.as_ref()?.labels.as_ref()?.get(labels::RECORD);
    if record.job().is_none()
        && let Some(started_from) = label().and_then(|label| Record::parse(label.as_bytes()).ok())
    {
        *record = started_from;
    }
    record.merge(&Known { container: Some(container_from_inspect(inspected)), ..Known::default() });
}
