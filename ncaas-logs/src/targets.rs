//! The containers a verb works on, named by its arguments or by records on stdin.

use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::RecordFields;
use ncaas_core::tool::Tool;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::saved_files::{SavedFiles, read_record};

/// How many containers are followed at once. One that runs for days must not delay others.
pub(crate) const MAX_FOLLOWED: usize = 1024;

/// The containers named by arguments, or else the records on stdin.
pub(crate) fn input(tool: Tool, containers: &[String], usage: &str) -> Result<Input> {
    if containers.is_empty() {
        return Input::stdin(tool, usage);
    }
    Ok(Input::records(containers.iter().map(|container| Record::for_container(container))))
}

/// The saved files that a record made from an argument stands for; none if it stands for a container.
pub(crate) fn saved_files_of_argument(record: &Record, arguments: &[String]) -> Result<Option<SavedFiles>> {
    let argument = container_reference(record).ok().filter(|argument| arguments.contains(argument));
    argument.map_or(Ok(None), |argument| SavedFiles::from_argument(&argument))
}

/// The job or container that a line or a sample belongs to.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OutputOwner {
    /// The job, if the container belongs to one.
    pub(crate) job: Option<JobOfOwner>,
    /// The container's name, if it belongs to no job and there are several.
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

impl OutputOwner {
    /// `several`: whether there are other containers from which it must be distinguished.
    pub(crate) fn from_record(record: &Record, several: bool) -> Self {
        let job = record.job().map(|job| JobOfOwner { id: job.id, dataset: job.dataset });
        let container = if several && job.is_none() { record.container() } else { None };
        OutputOwner { job, container: container.map(|container| container.name) }
    }
}

/// The id or name of the record's container.
pub(crate) fn container_reference(record: &Record) -> Result<String> {
    record.container_reference().ok_or_else(|| Failure::missing_field("container"))
}

/// Inspects the record's container and adds the engine's information about it. A record without a
/// job gets the fields of the record that the container was started with.
pub(crate) async fn inspect_target(engine: &Engine, record: &mut Record) -> Result<ContainerInspectResponse> {
    let reference = container_reference(record)?;
    let inspected = if record.has_only_container() {
        engine.inspect_named(&reference).await?
    } else {
        engine.inspect_for(record, &reference).await?
    };
    if record.job().is_none()
        && let Some(started_from) = engine.record_of_container(&inspected).await?
    {
        let given = std::mem::replace(record, started_from);
        given.as_map().iter().for_each(|(field, value)| record.fill(field, value));
    }
    record.merge(&RecordFields { container: Some(container_from_inspect(&inspected)), ..RecordFields::default() });
    Ok(inspected)
}

/// The saved record of one job: a file, the folder of a job with one dataset, or what names a container or a job.
pub(crate) async fn find_saved_record(engines: &LazyEngine, argument: &str) -> Result<(PathBuf, Record)> {
    let path = Path::new(argument);
    if path.is_file() || argument.ends_with(".json") {
        return Ok((path.to_owned(), read_record(path)?));
    }
    let mut saved = SavedFiles::from_argument(argument)?;
    if saved.is_none() {
        let mut record = Record::for_container(argument);
        let inspected = async { inspect_target(engines.get().await?, &mut record).await }.await;
        saved = SavedFiles::for_record(&record);
        if saved.is_none() {
            inspected?;
        }
    }
    let saved = saved.and_then(|saved| Some((saved.record_path(), saved.record?)));
    saved.ok_or_else(|| {
        Failure::new(Kind::BadRecord, format!("no record is saved for `{argument}`"))
            .hint("`ncaas-logs save` saves the record when the job ends")
    })
}
