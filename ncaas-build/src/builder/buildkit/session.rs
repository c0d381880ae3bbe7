//! The session: a connection in which the engine is the client and calls our gRPC services.

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::random_id;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::file_sync::Folders;
use super::services::{Credentials, HealthService, Secret, Secrets};
use crate::engine_stream;

/// The methods that the engine may call. It does without the others.
const METHODS: [&str; 4] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/grpc.health.v1.Health/Check",
];

/// A session, which is open until it is dropped.
pub(super) struct BuildSession {
    pub(super) id: String,
    serving: JoinHandle<()>,
}

impl Drop for BuildSession {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Opens a session; none if the engine has no BuildKit.
pub(super) async fn open(engine: &Engine, folders: &Folders, secrets: Vec<Secret>) -> Result<Option<BuildSession>> {
    let id = format!("ncaas{}", random_id());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/session")
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", "h2c")
        .header("X-Docker-Expose-Session-Uuid", &id)
        .header("X-Docker-Expose-Session-Name", "ncaas-build")
        // By this key the engine finds the files that it has from the build before.
        .header("X-Docker-Expose-Session-Sharedkey", folders.key());
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request =
        request.body(engine_stream::empty_body()).map_err(|error| engine_stream::connection_failure(&error))?;
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
        .add_service(HealthServer::new(HealthService));
    let serving = tokio::spawn(async move {
        // The engine ends the session with the build. If it breaks, the build fails with the reason.
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(upgraded, TowerToHyperService::new(services))
            .await
            .unwrap_or(());
    });
    Ok(Some(BuildSession { id, serving }))
}
