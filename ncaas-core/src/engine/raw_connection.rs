//! Connections to the engine for HTTP requests that the client cannot make.
//!
//! Builds, pulls and pushes send large bodies, and BuildKit needs a session in which the engine sends the requests.
//! `ncaas-logs` reads the responses for logs, in which each line is an HTTP chunk, many chunks at a time.

use std::io;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use hyper::body::Body;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::address::{Endpoint, Tls};
use super::connection::Engine;
use super::ssh;
use crate::failure::{Failure, IoContext, Kind, Result};

/// An HTTP/1.1 connection to the engine.
pub type HttpConnection<B> = Connection<TokioIo<Box<dyn RawConnection>>, B>;

/// Bytes to and from the engine.
pub trait RawConnection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> RawConnection for T {}

impl Engine {
    /// Opens an HTTP/1.1 connection. Returns the sender of its requests, and the connection, which makes progress only
    /// while it is polled.
    ///
    /// # Errors
    /// [`Kind::EngineUnreachable`].
    pub async fn open_http_connection<B>(&self) -> Result<(SendRequest<B>, HttpConnection<B>)>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
    {
        let stream = TokioIo::new(self.open_raw_connection().await?);
        let opened = http1::handshake(stream).await;
        opened.map_err(|error| {
            Failure::new(Kind::EngineUnreachable, format!("lost the connection to the engine: {error}"))
        })
    }

    #[boxed]
    async fn open_raw_connection(&self) -> Result<Box<dyn RawConnection>> {
        let gone = |error: io::Error| {
            Failure::new(Kind::EngineUnreachable, format!("no Docker Engine answers at `{}`: {error}", self.address))
        };
        let stream: Box<dyn RawConnection> = match &self.address.endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(gone)?),
            Endpoint::Tcp { authority, tls: None } => Box::new(TcpStream::connect(authority).await.map_err(gone)?),
            Endpoint::Tcp { authority, tls: Some(tls) } => {
                let stream = TcpStream::connect(authority).await.map_err(gone)?;
                let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|error| gone(io::Error::other(error)))?;
                let connector = TlsConnector::from(Arc::new(config(tls)?));
                Box::new(connector.connect(name, stream).await.map_err(gone)?)
            }
            Endpoint::Ssh(target) => Box::new(ssh::open(target).map_err(gone)?),
        };
        Ok(stream)
    }
}

/// The engine's message in the body of an error response.
pub fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct EngineError {
        message: String,
    }
    match serde_json::from_slice(body) {
        Ok(EngineError { message }) => message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

fn config(tls: &Tls) -> Result<ClientConfig> {
    let bad = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Kind::EngineUnreachable, format!("cannot use the {what} for the engine: {error}"))
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = &tls.ca {
        roots.add_parsable_certificates(certificates(&std::fs::read(ca).doing("read", ca)?));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS library", &error))?
        .with_root_certificates(roots);
    // The client certificate is optional.
    let certificate = std::fs::read(&tls.cert).map(|pem| certificates(&pem)).unwrap_or_default();
    if certificate.is_empty() {
        return Ok(config.with_no_client_auth());
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| bad("key", &error))?;
    config.with_client_auth_cert(certificate, key).map_err(|error| bad("certificate", &error))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(std::result::Result::ok).collect()
}
