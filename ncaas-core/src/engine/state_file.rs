//! The state of containers that do not run, from the engine's own files: for root, with a Docker Engine on this
//! machine. The engine needs some 2 ms for each inspection, and a list may have thousands of containers.

use std::fs;
use std::path::PathBuf;

use async_recursion::async_recursion as boxed;
use bollard::models::{ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as State};
use serde::Deserialize;

use super::connection::Engine;
use super::container::container_from_inspect;
use super::errors::{EngineContext, Subject};
use super::labels::LabelledContainer;
use crate::record::fields::Container;

/// The folder of the engine's files about containers.
#[derive(Debug)]
pub struct StateFiles(PathBuf);

/// The fields of a container's file `config.v2.json` that are read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerFile {
    state: ContainerState,
}

impl StateFiles {
    /// The files of an engine; none if this process may not read them.
    #[boxed]
    pub async fn open(engine: &Engine) -> Option<Self> {
        if engine.is_remote() {
            return None;
        }
        let info = engine.docker().info().await.engine_context("ask", Subject::Engine).ok()?;
        let folder = PathBuf::from(info.docker_root_dir?).join("containers");
        fs::read_dir(&folder).is_ok().then_some(StateFiles(folder))
    }

    /// The state of a listed container, as an inspection shows it; none for one that runs or has no file.
    pub fn container(&self, listed: &LabelledContainer) -> Option<Container> {
        let status = match listed.state.as_str() {
            "created" => State::CREATED,
            "exited" => State::EXITED,
            _ => return None,
        };
        let content = fs::read(self.0.join(&listed.id).join("config.v2.json")).ok()?;
        let state = serde_json::from_slice::<ContainerFile>(&content).ok()?.state;
        if state.running != Some(false) || state.restarting == Some(true) {
            return None;
        }
        let config = ContainerConfig { labels: Some(listed.labels.clone()), ..ContainerConfig::default() };
        Some(container_from_inspect(&ContainerInspectResponse {
            id: Some(listed.id.clone()),
            name: Some(format!("/{}", listed.name)),
            state: Some(ContainerState { status: Some(status), ..state }),
            config: Some(config),
            ..ContainerInspectResponse::default()
        }))
    }
}
