//! The labels by which containers and images of ours are known.
//!
//! State lives in the engine, not in the tools: a container carries the record that it was started from, so that it is
//! found again, with its record, by any later run of any tool.

use std::collections::HashMap;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;

use crate::engine::Engine;
use crate::engine::container::{BETWEEN_STATES, BETWEEN_STATES_LOOKS, is_between_states};
use crate::engine::errors::{EngineContext, Subject};
use crate::failure::Result;
use crate::record::Record;

/// On every container of ours: the tool that made it, for example `ncaas-exec`.
pub const TOOL: &str = "org.neurocaas.tool";
/// On a job's container: the job's id. The datasets of one submission share it.
pub const JOB: &str = "org.neurocaas.job";
/// On a job's container: the record that it was started from, one JSON object.
pub const RECORD: &str = "org.neurocaas.record";
/// On a job's container: how long it may run, in whole seconds from its start.
pub const TIMEOUT: &str = "org.neurocaas.timeout";
/// On a job's container: the GPU that it has to itself, by the engine's id for it.
pub const GPU: &str = "org.neurocaas.gpu";
/// On an image: where its io-dir is mounted, if elsewhere than in the contributor's home directory.
pub const IO_DIR: &str = "org.neurocaas.io-dir";
/// On a container that a tool needs for a moment and removes: what it is for.
pub const HELPER: &str = "org.neurocaas.helper";

/// A container with a label of ours, as the engine lists it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labelled {
    /// Full id, 64 hex digits.
    pub id: String,
    /// Name, without the engine's leading slash.
    pub name: String,
    /// The engine's own word: `created`, `running`, `exited`, ...
    pub state: String,
    /// All of its labels, the image's included.
    pub labels: HashMap<String, String>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
}

impl Labelled {
    /// The record that it was started from: none for one that is no job, or whose label is no record.
    pub fn record(&self) -> Option<Record> {
        Record::parse(self.labels.get(RECORD)?.as_bytes()).ok()
    }

    fn from_summary(summary: ContainerSummary) -> Self {
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        Labelled {
            id: summary.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
        }
    }
}

impl Engine {
    /// All containers, running or not, that carry every one of `labels`: `name` for any value, `name=value` for one.
    /// The engine lists the newest first.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn labelled(&self, labels: &[&str]) -> Result<Vec<Labelled>> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..Default::default()
        };
        let mut found = self.docker().list_containers(Some(options.clone())).await;
        for _ in 0..BETWEEN_STATES_LOOKS {
            if !is_between_states(&found) {
                break;
            }
            tokio::time::sleep(BETWEEN_STATES).await;
            found = self.docker().list_containers(Some(options.clone())).await;
        }
        let found = found.engine_context("list containers of", Subject::Engine)?;
        Ok(found.into_iter().map(Labelled::from_summary).collect())
    }

    /// The container that was started for this job and dataset before, by this tool's run or another's.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn find_container(&self, record: &Record) -> Result<Option<Labelled>> {
        let (Some(job), Some(identity)) = (record.job(), record.identity()) else { return Ok(None) };
        let found = self.labelled(&[&format!("{JOB}={}", job.id)]).await?;
        Ok(found.into_iter().find(|one| one.record().is_some_and(|of| of.identity().as_ref() == Some(&identity))))
    }
}
