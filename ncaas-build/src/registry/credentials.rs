//! Credentials for registries, from the configuration of the docker CLI: `auths`, `credsStore`, `credHelpers`. There is
//! no flag for a password: it would appear in the history of the shell and in `ps`.

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use ncaas_core::engine::address::docker_config_directory;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::text::without_bom;
use serde::Serialize;

/// The address under which the docker CLI keeps the credentials of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The credentials for a registry, for example `registry.example.com` or `127.0.0.1:5000`; none for anonymous access.
/// Fails with [`Kind::RegistryError`] if the configuration or a helper fails. The output of a helper may be a secret,
/// and is not repeated.
pub(crate) async fn for_registry(registry: &str) -> Result<Option<DockerCredentials>> {
    let server = match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    };
    // A helper is a program, which blocks.
    let address = server.clone();
    let found = tokio::task::spawn_blocking(move || read_credential(&address)).await;
    let found = found.unwrap_or(Err(CredentialRetrievalError::HelperCommunicationError));
    let mut credentials = DockerCredentials { serveraddress: Some(server.clone()), ..DockerCredentials::default() };
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            credentials.username = Some(username);
            credentials.password = Some(password);
        }
        Ok(DockerCredential::IdentityToken(token)) => credentials.identitytoken = Some(token),
        Err(CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound) => {
            return Ok(None);
        }
        // A helper says so if it has no credentials for this registry.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            return Ok(None);
        }
        Err(error) => return Err(failure(&server, &error)),
    }
    Ok(Some(credentials))
}

fn read_credential(server: &str) -> std::result::Result<DockerCredential, CredentialRetrievalError> {
    let path = docker_config_directory().ok_or(CredentialRetrievalError::ConfigNotFound)?.join("config.json");
    match std::fs::read(path) {
        Ok(config) => docker_credential::get_credential_from_reader(without_bom(&config), server),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CredentialRetrievalError::ConfigNotFound),
        Err(_) => Err(CredentialRetrievalError::ConfigReadError),
    }
}

fn failure(server: &str, error: &CredentialRetrievalError) -> Failure {
    let reason = match error {
        CredentialRetrievalError::HelperFailure { helper, stderr, .. } => {
            let message = stderr.trim().lines().next_back().unwrap_or("no reason given");
            format!("`{helper}` failed: {message}")
        }
        CredentialRetrievalError::HelperCommunicationError => "the credential helper cannot be run".to_owned(),
        CredentialRetrievalError::MalformedHelperResponse => {
            "the credential helper did not print valid JSON".to_owned()
        }
        _ => "the configuration of the docker CLI cannot be read".to_owned(),
    };
    Failure::new(Kind::RegistryError, format!("no credentials for `{server}`: {reason}"))
        .hint("check `auths`, `credsStore` and `credHelpers` in ~/.docker/config.json; a helper must be in PATH")
}

/// Credentials in the form of the engine's header: JSON in URL-safe base64.
pub(crate) fn header(credentials: &impl Serialize) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(serde_json::to_vec(credentials).unwrap_or_default())
}

/// The registry in the name of an image. By the rule of the docker CLI, the first part is one if it has a dot or a
/// port, or is `localhost`.
pub(crate) fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_first_part_of_a_name() {
        assert_eq!(registry_of("127.0.0.1:5000/a/b:1"), "127.0.0.1:5000");
        assert_eq!(registry_of("localhost/a"), "localhost");
        assert_eq!(registry_of("1234.dkr.ecr.us-east-1.amazonaws.com/pca:1"), "1234.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!(registry_of("neurocaas/contrib:pca.1.2"), "docker.io");
        assert_eq!(registry_of("debian:bookworm"), "docker.io");
    }
}
