//! Containers that are never started: files are read through them.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use bollard::query_parameters::CreateContainerOptions;

use super::connection::Engine;
use super::errors::{EngineContext, Subject};
use super::labels;
use crate::failure::Result;

impl Engine {
    /// Creates a container that is never started: files are read through it. `purpose` is the value of its label.
    ///
    /// # Errors
    /// The engine cannot be reached, or refuses it.
    #[boxed]
    pub async fn create_helper(&self, purpose: &str, name: &str, image: String, mounts: Vec<Mount>) -> Result<()> {
        let host = HostConfig { mounts: Some(mounts), network_mode: Some("none".to_owned()), ..Default::default() };
        let body = ContainerCreateBody {
            image: Some(image),
            // An image need not have a command.
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(HashMap::from([(labels::HELPER.to_owned(), purpose.to_owned())])),
            host_config: Some(host),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        let created = self.docker.create_container(Some(options), body).await;
        created.engine_context("create a helper container on", Subject::Engine).map(drop)
    }
}
