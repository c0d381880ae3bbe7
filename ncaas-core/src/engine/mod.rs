//! The Docker Engine: its address, and the requests that several tools make.
//!
//! [`Engine`] is the connection. A tool makes its other requests with [`Engine::docker`], and turns errors into
//! failures with [`EngineContext::engine_context`].
//!
//! - [`address`]: where the engine is, resolved as the docker CLI does it
//! - [`Engine::is_podman`]: Podman answers the same requests, some of them differently
//! - [`container`]: the state of a container, as a record has it
//! - [`container_layer`]: the files of a container that differ from its image
//! - [`labels`]: the labels by which the tools find their containers
//! - [`Engine::inspect_target`]: the container and the record that an argument names
//! - [`archive`]: files in and out of containers; [`path`]: a single path in a container
//! - [`Engine::open_http_connection`]: a connection for requests that the client cannot make
//! - [`Engine::repair_ownership`]: gives the files that a job left on this machine to the user
//! - [`Engine::remove_unused_work`]: removes the work folder of a job after its container
//! - [`reference`](mod@reference): the names that may be part of a request
//!
//! The client sends its requests without an API version (bollard 0.21.1), so each engine answers with its newest version:
//! 1.41 (20.10) to 1.51 (28.5) are tested, and engines that refuse old versions work too. The client runs on a
//! current-thread runtime: on several threads it takes twice the time.

pub mod address;
pub mod archive;
mod backoff;
pub mod container;
pub mod container_layer;
mod daemon_start;
mod errors;
pub mod executable;
mod exit_cause;
mod exit_evidence;
mod file_ownership;
mod kernel_oom;
pub mod labels;
mod lazy;
mod missing_image;
pub mod path;
pub mod podman;
mod raw_connection;
pub mod reference;
mod ssh;
mod start_hint;
mod state_change;
mod state_file;
mod stop_signal;
mod target;
mod wait;
mod work_folder;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bollard::models::{ContainerCreateBody, HostConfig, ImageInspect, Mount};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use tokio::sync::{Mutex, OnceCell};

use crate::failure::{Failure, Kind, Result};
use address::{Address, Endpoint, Tls};
use missing_image::ListedTags;

pub use backoff::{Backoff, OUTAGE_LIMIT};
pub use errors::{EngineContext, Subject, failure};
pub use file_ownership::FileOwner;
pub use lazy::LazyEngine;
pub use raw_connection::{HttpConnection, error_message};
pub use state_file::StateFiles;
pub use wait::STOP_GRACE_S;

/// The client's timeout, in seconds. It bounds the time to the first byte of an answer, and a commit or a stop answers only
/// when it is done. Requests that need a deadline have their own.
const CLIENT_TIMEOUT: u64 = 24 * 3600;

/// How long an engine on this machine, or on another one, may take to answer the first ping.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
const FIRST_ANSWER_REMOTE: Duration = Duration::from_secs(40);

/// A connection to a Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    address: Arc<Address>,
    is_podman: Arc<OnceCell<bool>>,
    listed_tags: Arc<Mutex<ListedTags>>,
}

impl Engine {
    /// Connects to the engine that the environment and the docker CLI's configuration name, and checks that it answers.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`] with its address, or [`Kind::AccessDenied`] if its socket is not for this user.
    pub async fn connect() -> Result<Self> {
        Self::connect_to(Address::from_environment()?).await
    }

    /// Connects to the engine at an address, and checks that it answers.
    ///
    /// # Errors
    /// Same as [`Engine::connect`].
    #[boxed]
    pub async fn connect_to(address: Address) -> Result<Self> {
        let docker = client(&address).map_err(|failure| unanswered(&address, failure))?;
        let engine =
            Engine { docker, address: Arc::new(address), is_podman: Arc::default(), listed_tags: Arc::default() };
        let deadline = if engine.is_remote() { FIRST_ANSWER_REMOTE } else { FIRST_ANSWER };
        match engine.ping(deadline).await {
            Ok(()) => Ok(engine),
            Err(failure) => Err(unanswered(&engine.address, failure)),
        }
    }

    /// The client, for requests that only one tool makes.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where the engine is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is on another machine: paths of this one mean nothing to it, and nothing can be mounted.
    pub fn is_remote(&self) -> bool {
        self.address.is_remote()
    }

    /// An image as the engine describes it.
    ///
    /// # Errors
    /// [`Kind::ImageNotFound`]; the engine cannot be reached.
    #[boxed]
    pub async fn inspect_image(&self, name: &str) -> Result<ImageInspect> {
        match self.docker.inspect_image(name).await.engine_context("inspect", Subject::Image(name)) {
            Err(failure) if failure.kind == Kind::ImageNotFound => Err(self.suggest_image(name, failure).await),
            inspected => inspected,
        }
    }

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

    /// Removes a container with its anonymous volumes, also one that runs.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; the engine cannot be reached.
    #[boxed]
    pub async fn remove(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        self.docker.remove_container(name, Some(options)).await.engine_context("remove", Subject::Container(name))
    }

    /// Makes sure that the engine answers, and within `deadline`.
    #[boxed]
    pub(crate) async fn ping(&self, deadline: Duration) -> Result<()> {
        with_deadline(deadline, async { self.docker.ping().await.engine_context("reach", Subject::Engine) })
            .await
            .map(|_| ())
    }
}

async fn with_deadline<T>(deadline: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(deadline, request).await.unwrap_or_else(|_| {
        let seconds = deadline.as_secs();
        Err(Failure::new(Kind::EngineUnreachable, format!("the engine did not answer within {seconds} s")))
    })
}

/// The failure of an engine that does not answer, with its address and the setting that names it.
fn unanswered(address: &Address, failure: Failure) -> Failure {
    let reason = failure.message.strip_prefix("cannot reach the engine: ").unwrap_or(&failure.message);
    let origin = match &address.origin {
        address::Origin::Default => String::new(),
        origin => format!(" ({origin})"),
    };
    let message = format!("no Docker Engine answers at `{address}`{origin}: {reason}");
    if failure.kind == Kind::EngineUnreachable && matches!(address.origin, address::Origin::Default) {
        return Failure { message, ..failure }.hint(start_hint::start_hint());
    }
    Failure { message, ..failure }
}

fn client(address: &Address) -> Result<Docker> {
    let client = match &address.endpoint {
        Endpoint::Unix(path) => Docker::connect_with_unix(&path.to_string_lossy(), CLIENT_TIMEOUT, API_DEFAULT_VERSION),
        Endpoint::Tcp { authority, tls: None } => {
            Docker::connect_with_http(authority, CLIENT_TIMEOUT, API_DEFAULT_VERSION)
        }
        Endpoint::Tcp { authority, tls: Some(tls) } => {
            let Tls { ca, cert, key } = tls;
            // An empty file adds nothing to the authorities that the machine trusts.
            let ca = ca.as_deref().unwrap_or("/dev/null".as_ref());
            Docker::connect_with_ssl(authority, key, cert, ca, CLIENT_TIMEOUT, API_DEFAULT_VERSION)
        }
        Endpoint::Ssh(target) => Docker::connect_with_custom_transport(
            ssh::transport(target),
            // Never resolved: the request's `Host`, as the docker CLI sends it.
            Some("http://docker.example.com"),
            CLIENT_TIMEOUT,
            API_DEFAULT_VERSION,
        ),
    };
    match client {
        Ok(client) => Ok(client.with_request_modifier(repair_registry_auth)),
        // Unreadable certificates or a missing socket: nothing was sent.
        Err(error) => Err(Failure { kind: Kind::EngineUnreachable, ..failure(&error, "reach", Subject::Engine) }),
    }
}

/// Repairs registry credentials: the client encodes them in base64's standard alphabet, engines expect its URL alphabet and
/// ignore a password with one of the two characters that differ (bollard 0.21.1).
fn repair_registry_auth(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(Ok(repaired)) = value.to_str().map(|text| text.replace('+', "-").replace('/', "_").parse())
        {
            *value = repaired;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_credentials_are_sent_in_the_url_alphabet() {
        let body = bollard::body_full(bytes::Bytes::new());
        let mut request = BollardRequest::new(body);
        request.headers_mut().insert("x-registry-auth", "ab+/c=".parse().unwrap());
        request.headers_mut().insert("accept", "a+/b".parse().unwrap());
        let request = repair_registry_auth(request);
        assert_eq!(request.headers()["x-registry-auth"], "ab-_c=");
        assert_eq!(request.headers()["accept"], "a+/b");
    }

    #[test]
    fn an_engine_that_does_not_answer_is_named_with_its_origin() {
        let address = Address::resolve(&|name| (name == "DOCKER_HOST").then(|| "tcp://h:1".to_owned())).unwrap();
        let failure = Failure::new(Kind::EngineUnreachable, "cannot reach the engine: connection refused");
        let message = unanswered(&address, failure).message;
        assert_eq!(message, "no Docker Engine answers at `tcp://h:1` (DOCKER_HOST): connection refused");
    }
}
