//! The session: a connection turned around, in which the engine is the client of our gRPC services.

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::file_sync::Folders;
use super::services::{Alive, Credentials, Secret, Secrets};
use crate::engine_stream;

/// What the engine may call. It asks for nothing else, and makes do without.
const METHODS: [&str; 4] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/grpc.health.v1.Health/Check",
];

/// A session that is open until it is dropped.
pub(super) struct Session {
    pub(super) id: String,
    serving: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Opens a session; none where the engine has no BuildKit.
pub(super) async fn open(engine: &Engine, folders: &Folders, secrets: Vec<Secret>) -> Result<Option<Session>> {
    let id = format!("ncaas{:016x}{:016x}", random(), random());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/session")
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", "h2c")
        .header("X-Docker-Expose-Session-Uuid", &id)
        .header("X-Docker-Expose-Session-Name", "ncaas-build")
        // By this key the engine finds what it has of the folder from the build before.
        .header("X-Docker-Expose-Session-Sharedkey", folders.key());
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request = request.body(engine_stream::nothing()).map_err(|error| engine_stream::broken(&error))?;
    let response = engine_stream::send(engine, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| Failure::new(Kind::EngineError, format!("cannot open a session with the engine: {error}")))?;
    let services = Routes::new(FileSyncServer::new(folders.clone()))
        .add_service(AuthServer::new(Credentials))
        .add_service(SecretsServer::new(Secrets::new(secrets)))
        .add_service(HealthServer::new(Alive));
    let serving = tokio::spawn(async move {
        // The engine ends it with the build, and a build that misses it says why it failed.
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(upgraded, TowerToHyperService::new(services))
            .await
            .unwrap_or(());
    });
    Ok(Some(Session { id, serving }))
}

/// A number that nobody else has: the standard library's own seed for its hash maps.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
