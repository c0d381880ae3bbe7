//! The source of the output of a job: its container, or the files that `save` wrote.

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::Record;
use ncaas_core::saved_record;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::saved_files::SavedFiles;

/// How many containers are followed at once. One that runs for days must not delay others.
pub(crate) const MAX_FOLLOWED: usize = 1024;

/// The source that a record or an argument names.
pub(crate) enum LogSource {
    Container(Engine, Box<ContainerInspectResponse>),
    /// The files that `save` wrote for a job: the argument names one, the container is gone, or the engine does not
    /// answer.
    Saved(Box<SavedFiles>),
}

/// Finds the container of a record or of an argument, and updates the record, or finds its saved files.
pub(crate) async fn find_log_source(engines: &LazyEngine, record: &mut Record) -> Result<LogSource> {
    if record.has_only_container()
        && let Some(saved) = SavedFiles::from_path(&record.container_id()?)?
    {
        return Ok(LogSource::Saved(saved.into()));
    }
    let inspected = async {
        let engine = engines.get().await?;
        Ok::<_, Failure>(LogSource::Container(engine.clone(), engine.inspect_target(record).await?.into()))
    };
    match inspected.await {
        Err(failure) if failure.kind != Kind::WrongContainer => {
            match SavedFiles::for_record(record).filter(SavedFiles::exist) {
                Some(saved) => Ok(LogSource::Saved(saved.into())),
                None => Err(suggest_saved(failure, record)),
            }
        }
        found => found,
    }
}

/// The failure for an argument that names neither a container nor an ended job, with the most similar name of an ended
/// job.
fn suggest_saved(failure: Failure, record: &Record) -> Failure {
    let is_unknown = failure.kind == Kind::ContainerNotFound && record.has_only_container();
    match record.container_reference().filter(|_| is_unknown).and_then(|name| saved_record::find_similar(&name)) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`?")),
        None => failure,
    }
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
