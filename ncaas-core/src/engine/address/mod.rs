//! Where the Docker Engine is, found as the docker CLI finds it.
//!
//! In this order (docker/cli, `cli/command/cli.go`, `resolveContextName`): `DOCKER_HOST`, the context that
//! `DOCKER_CONTEXT` names, the config's `currentContext`, the socket of this machine. A variable that is set and empty
//! is not set. With `DOCKER_TLS_VERIFY` or `DOCKER_TLS` a `tcp://` address is TLS, and never anything less; unlike the
//! CLI we verify the server's certificate in every case.

mod context;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::failure::Result;

/// Where the engine of a machine listens that says nothing else.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// An engine's address, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How it is reached.
    pub endpoint: Endpoint,
    /// Who said so.
    pub origin: Origin,
}

/// How an engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// HTTP, or with `tls` HTTPS, at `host:port`.
    Tcp {
        /// `host:port`; an IPv6 host in brackets.
        authority: String,
        /// Certificates; none is plain HTTP.
        tls: Option<Tls>,
    },
    /// `docker system dial-stdio` on another machine, through the `ssh` of this one.
    Ssh(Ssh),
}

/// The certificates for an engine that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who may sign the server's certificate, beside those that this machine trusts anyway; none where only they may.
    pub ca: Option<PathBuf>,
    /// Our own certificate; a file that is not there is no client certificate.
    pub cert: PathBuf,
    /// Our own key.
    pub key: PathBuf,
}

/// A machine to reach with ssh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Login name, if another than ssh's own choice.
    pub user: Option<String>,
    /// Host name, address or alias of the ssh config.
    pub host: String,
    /// Port, if another than ssh's own choice.
    pub port: Option<u16>,
    /// Socket of the engine there, if it is not the default of `docker` there.
    pub socket: Option<String>,
}

/// Who said where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// `DOCKER_HOST`.
    Variable,
    /// The docker context of this name.
    Context(String),
}

impl Address {
    /// The address by this process's environment and the docker CLI's configuration.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`](crate::failure::Kind::EngineUnreachable) where they name an address that cannot be
    /// one, or a context that does not exist.
    pub fn from_environment() -> Result<Self> {
        Self::resolve(&|name| std::env::var(name).ok())
    }

    /// The address by an environment given as a function from a variable's name to its value.
    ///
    /// # Errors
    /// As [`Address::from_environment`].
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
            // As the CLI has it: TLS without an address means this machine's TLS port.
            None => match environment.tls() {
                Some(tls) => Ok(Address {
                    endpoint: Endpoint::Tcp { authority: "localhost:2376".to_owned(), tls: Some(tls) },
                    origin: Origin::Default,
                }),
                None => Ok(Address { endpoint: Endpoint::Unix(DEFAULT_SOCKET.into()), origin: Origin::Default }),
            },
        }
    }

    /// The proxies that the docker CLI's configuration has for what runs in this engine's containers, as variables:
    /// `HTTP_PROXY`, `http_proxy`, ... They may hold a password.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`](crate::failure::Kind::EngineUnreachable) where the configuration cannot be read.
    pub fn proxies(&self) -> Result<BTreeMap<String, String>> {
        let host = match &self.endpoint {
            Endpoint::Tcp { authority, .. } => format!("tcp://{authority}"),
            endpoint => endpoint.to_string(),
        };
        context::Environment::new(&|name| std::env::var(name).ok()).proxies(&host)
    }

    /// Whether the engine is to be taken for one on another machine, where paths of this one mean nothing.
    pub fn is_remote(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Unix(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { authority, tls: None } => write!(f, "tcp://{authority}"),
            Endpoint::Tcp { authority, tls: Some(_) } => write!(f, "https://{authority}"),
            Endpoint::Ssh(ssh) => ssh.fmt(f),
        }
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
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
