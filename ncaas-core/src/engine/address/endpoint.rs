//! Where an engine listens: a socket, a port, or another machine that ssh reaches.

use std::fmt;
use std::path::PathBuf;

pub(super) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The endpoint of an engine.
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

/// The certificates for an engine that uses TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Authorities for the server's certificate, beside those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The client certificate. It is optional: the file may not exist.
    pub cert: PathBuf,
    /// The client's key.
    pub key: PathBuf,
}

/// A machine to reach with ssh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Login name; `None` is ssh's default.
    pub user: Option<String>,
    /// Host name, address or alias of the ssh config.
    pub host: String,
    /// Port; `None` is ssh's default.
    pub port: Option<u16>,
    /// Socket of the engine there, if it is not the default of `docker` there.
    pub socket: Option<String>,
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
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}
