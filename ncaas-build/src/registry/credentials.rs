//! Credentials for registries, from the docker CLI's configuration: `auths`, `credsStore`, `credHelpers`. There is no
//! flag for a password: it would stand in the shell's history and in `ps`.

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use ncaas_core::failure::{Failure, Kind, Result};
use serde::Serialize;

/// Under this address the docker CLI keeps what it knows of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What is to be shown to a registry: `registry.example.com`, `127.0.0.1:5000`; none for nobody in particular.
///
/// # Errors
/// [`Kind::RegistryError`] where a helper fails. What it prints to stdout may be a secret, and is not repeated.
pub(crate) async fn for_registry(registry: &str) -> Result<Option<DockerCredentials>> {
    let server = match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    };
    // A helper is a program that is waited for.
    let asked = server.clone();
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&asked)).await;
    let found = found.unwrap_or(Err(CredentialRetrievalError::HelperCommunicationError));
    let mut credentials = DockerCredentials { serveraddress: Some(server.clone()), ..DockerCredentials::default() };
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            credentials.username = Some(username);
            credentials.password = Some(password);
        }
        Ok(DockerCredential::IdentityToken(token)) => credentials.identitytoken = Some(token),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => return Ok(None),
        // How a helper says that it knows nothing of this registry.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            return Ok(None);
        }
        Err(error) => return Err(failure(&server, &error)),
    }
    Ok(Some(credentials))
}

fn failure(server: &str, error: &CredentialRetrievalError) -> Failure {
    let why = match error {
        CredentialRetrievalError::HelperFailure { helper, stderr, .. } => {
            let words = stderr.trim().lines().next_back().unwrap_or("it gives no reason");
            format!("`{helper}` failed: {words}")
        }
        CredentialRetrievalError::HelperCommunicationError => "the credential helper cannot be run".to_owned(),
        CredentialRetrievalError::MalformedHelperResponse => {
            "what the credential helper answers is not readable".to_owned()
        }
        _ => "what stands in the docker configuration is not readable".to_owned(),
    };
    Failure::new(Kind::RegistryError, format!("no credentials for `{server}`: {why}"))
        .hint("check `credsStore` and `credHelpers` in ~/.docker/config.json; the helper has to be in PATH")
}

/// As the engine takes them in a header: JSON in base64's URL alphabet.
pub(crate) fn header(credentials: &impl Serialize) -> String {
    base64::engine::general_purpose::URL_SAFE.encode(serde_json::to_vec(credentials).unwrap_or_default())
}

/// The registry that an image's name begins with, by the docker CLI's rule: the first part is one if it has a dot or a
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
    fn the_registry_stands_first_in_a_name() {
        assert_eq!(registry_of("127.0.0.1:5000/a/b:1"), "127.0.0.1:5000");
        assert_eq!(registry_of("localhost/a"), "localhost");
        assert_eq!(registry_of("1234.dkr.ecr.us-east-1.amazonaws.com/pca:1"), "1234.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!(registry_of("neurocaas/contrib:pca.1.2"), "docker.io");
        assert_eq!(registry_of("debian:bookworm"), "docker.io");
    }
}
