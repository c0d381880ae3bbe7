//! The small services of a session: secrets, registry credentials, health.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::Health;
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1 as auth;
use futures_util::stream::Empty;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use tonic::{Request, Response, Status};

use crate::registry::credentials;

/// A secret that a `RUN` may read and that no layer keeps. Its content is never printed.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) id: String,
    content: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({})", self.id)
    }
}

impl Secret {
    /// Parses `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` for the environment variable ID.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Failure::new(Kind::Usage, why).hint("write `--secret id=ID,src=FILE` or `--secret id=ID,env=NAME`")
        };
        let (mut id, mut file, mut variable) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", "file" | "env")) => {}
                _ => return Err(wrong(format!("`{field}` is not a valid field of a secret"))),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("the secret has no `id`".to_owned()))?;
        let content = match (file, variable) {
            (Some(file), _) => std::fs::read(&file).doing("read", &file)?,
            (None, variable) => {
                let name = variable.unwrap_or_else(|| id.clone());
                let value = std::env::var(&name);
                value
                    .map_err(|_| wrong(format!("the environment variable `{name}` for the secret `{id}` is not set")))?
                    .into_bytes()
            }
        };
        Ok(Secret { id, content })
    }
}

#[derive(Debug)]
pub(super) struct Secrets(HashMap<String, Secret>);

impl Secrets {
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        Secrets(secrets.into_iter().map(|secret| (secret.id.clone(), secret)).collect())
    }
}

#[tonic::async_trait]
impl bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.get(&id) {
            Some(secret) => Ok(Response::new(GetSecretResponse { data: secret.content.clone() })),
            None => Err(Status::not_found(format!("the secret `{id}` was not given: use `--secret id={id},src=FILE`"))),
        }
    }
}

/// The credentials for registries, from the configuration of the docker CLI.
#[derive(Debug)]
pub(super) struct Credentials;

#[tonic::async_trait]
impl auth::auth_server::Auth for Credentials {
    async fn credentials(
        &self,
        request: Request<auth::CredentialsRequest>,
    ) -> Result<Response<auth::CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let found = credentials::for_registry(&host).await;
        let found = found.map_err(|failure| Status::unauthenticated(failure.message))?.unwrap_or_default();
        let (username, secret) = match found.identitytoken {
            // As in the docker CLI, an empty user name marks a token.
            Some(token) => (String::new(), token),
            None => (found.username.unwrap_or_default(), found.password.unwrap_or_default()),
        };
        Ok(Response::new(auth::CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        _: Request<auth::FetchTokenRequest>,
    ) -> Result<Response<auth::FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }

    async fn get_token_authority(
        &self,
        _: Request<auth::GetTokenAuthorityRequest>,
    ) -> Result<Response<auth::GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<auth::VerifyTokenAuthorityRequest>,
    ) -> Result<Response<auth::VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }
}

/// The engine ends a session that does not answer.
#[derive(Debug)]
pub(super) struct HealthService;

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("the session has one service"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("use Check"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hush").unwrap();
        let secret = Secret::parse(&format!("id=token,src={}", file.display())).unwrap();
        assert_eq!(secret.content, b"hush");
        assert_eq!(format!("{secret:?}"), "Secret(token)");
        assert_eq!(Secret::parse("id=p,env=PATH").unwrap().content, std::env::var("PATH").unwrap().into_bytes());
        for bad in ["", "src=/x", "id=", "id=a,colour=red", "id=a,env=NCAAS_NO_SUCH_VARIABLE"] {
            assert_eq!(Secret::parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }
}
