//! The Docker Engine's address, resolved as in the docker CLI.
//!
//! The order is that of docker/cli (`cli/command/cli.go`, `resolveContextName`): `DOCKER_HOST`, the context in
//! `DOCKER_CONTEXT`, the config's `currentContext`, the socket of this machine. An empty variable counts as not set.
//! With `DOCKER_TLS_VERIFY` or `DOCKER_TLS`, a `tcp://` address always uses TLS. Unlike the CLI, this module verifies
//! the server's certificate in every case.

mod context;
mod endpoint;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::failure::Result;
use endpoint::DEFAULT_SOCKET;
pub use endpoint::{Endpoint, Ssh, Tls};

/// An engine's address, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The setting that it comes from.
    pub origin: Origin,
}

/// The setting that an address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// No setting: the default.
    Default,
    /// `DOCKER_HOST`.
    Variable,
    /// The docker context of this name.
    Context(String),
}

impl Address {
    /// The address by this process's environment and the docker CLI's configuration.
    pub(crate) fn from_environment() -> Result<Self> {
        Self::resolve(&from_process)
    }

    /// The address by an environment given as a function from a variable's name to its value.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`](crate::failure::Kind::EngineUnreachable) if they name an invalid address, or a
    /// context that does not exist.
    pub fn resolve(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let environment = context::Environment::new(variable);
        if let Some(host) = environment.get("DOCKER_HOST") {
            let endpoint = parse::endpoint(&host, environment.tls())?;
            return Ok(Address { endpoint, origin: Origin::Variable });
        }
        match environment.context_name()? {
            Some(name) => {
                let endpoint = environment.context(&name)?;
                Ok(Address { endpoint, origin: Origin::Context(name) })
            }
            // As in the CLI: TLS without an address means this machine's TLS port.
            None => match environment.tls() {
                Some(tls) => Ok(Address {
                    endpoint: Endpoint::Tcp { authority: "localhost:2376".to_owned(), tls: Some(tls) },
                    origin: Origin::Default,
                }),
                None => Ok(Address { endpoint: Endpoint::Unix(DEFAULT_SOCKET.into()), origin: Origin::Default }),
            },
        }
    }

    /// The proxies in the docker CLI's configuration for processes in this engine's containers, as variables:
    /// `HTTP_PROXY`, `http_proxy`, ... They may hold a password.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`](crate::failure::Kind::EngineUnreachable) if the configuration cannot be read.
    pub fn proxies(&self) -> Result<BTreeMap<String, String>> {
        let host = match &self.endpoint {
            Endpoint::Tcp { authority, .. } => format!("tcp://{authority}"),
            endpoint => endpoint.to_string(),
        };
        context::Environment::new(&from_process).proxies(&host)
    }

    /// Whether the engine counts as one on another machine, to which paths of this machine mean nothing.
    pub fn is_remote(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Unix(_))
    }
}

/// The docker CLI's configuration directory: `DOCKER_CONFIG`, or else `.docker` in the home directory.
pub fn docker_config_directory() -> Option<PathBuf> {
    context::Environment::new(&from_process).directory()
}

/// A variable of this process's environment.
fn from_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("the default"),
            Origin::Variable => f.write_str("DOCKER_HOST"),
            Origin::Context(name) => write!(f, "the docker context `{name}`"),
        }
    }
}
