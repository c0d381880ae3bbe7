//! The connection to an engine, and the requests that several files make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use bollard::models::ImageInspect;
use bollard::query_parameters::RemoveContainerOptions;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use tokio::sync::{Mutex, OnceCell};

use super::address::{Address, Endpoint, Origin, Tls};
use super::errors::{EngineContext, Subject, failure};
use super::reference;
use super::ssh;
use super::start_hint::start_hint;
use crate::failure::{Failure, Kind, Result};

/// The client's timeout, in seconds. It bounds the time to the first byte of an answer, and a commit or a stop answers
/// only when it is done. Requests that need a deadline have their own.
const CLIENT_TIMEOUT: u64 = 24 * 3600;

/// How long an engine on this machine, or on another one, may take to answer the first ping.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
const FIRST_ANSWER_REMOTE: Duration = Duration::from_secs(40);

/// When the names of the engine's images were listed, and the names.
type ListedTags = (Instant, Vec<String>);

/// A connection to a Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) address: Arc<Address>,
    pub(super) is_podman: Arc<OnceCell<bool>>,
    pub(super) listed_tags: Arc<Mutex<Option<ListedTags>>>,
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
        let name = reference::image(name)?;
        match self.docker.inspect_image(name).await.engine_context("inspect", Subject::Image(name)) {
            Err(failure) if failure.kind == Kind::ImageNotFound => Err(self.suggest_image(name, failure).await),
            inspected => inspected,
        }
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

pub(super) async fn with_deadline<T>(deadline: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(deadline, request).await.unwrap_or_else(|_| {
        let seconds = deadline.as_secs();
        Err(Failure::new(Kind::EngineUnreachable, format!("the engine did not answer within {seconds} s")))
    })
}

/// The failure of an engine that does not answer, with its address and the setting that names it.
fn unanswered(address: &Address, failure: Failure) -> Failure {
    let reason = failure.message.strip_prefix("cannot reach the engine: ").unwrap_or(&failure.message);
    let origin = match &address.origin {
        Origin::Default => String::new(),
        origin => format!(" ({origin})"),
    };
    let message = format!("no Docker Engine answers at `{address}`{origin}: {reason}");
    if failure.kind == Kind::EngineUnreachable && matches!(address.origin, Origin::Default) {
        return Failure { message, ..failure }.hint(start_hint());
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

/// Repairs registry credentials: the client encodes them in base64's standard alphabet, engines expect its URL alphabet
/// and ignore a password with one of the two characters that differ (bollard 0.21.1).
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
