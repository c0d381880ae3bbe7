//! What the errors of a registry mean, with their hints.

use hyper::StatusCode;
use ncaas_core::engine::is_disk_full;
use ncaas_core::failure::{Failure, Kind};

use super::credentials;

/// The failure of a pull or push (`verb`). The engine answers 500 for most of them, so the message has to tell.
pub(super) fn failure(verb: &str, image: &str, status: Option<StatusCode>, message: &str) -> Failure {
    let registry = credentials::registry_of(image);
    let cannot = format!("cannot {verb} `{image}`: {message}");
    let has = |these: &[&str]| these.iter().any(|this| message.contains(this));
    if is_disk_full(message) {
        return Failure::new(Kind::DiskFull, cannot);
    }
    if has(&["nauthorized", "no basic auth credentials", "authentication required", "denied"])
        && status != Some(StatusCode::NOT_FOUND)
    {
        return Failure::new(Kind::AccessDenied, cannot)
            .hint(format!("log in with `docker login {registry}`, and check that the account may {verb} this image"));
    }
    if status == Some(StatusCode::NOT_FOUND) || has(&["manifest unknown", "not found", "name unknown"]) {
        return Failure::new(Kind::ImageNotFound, format!("image `{image}` is not in the registry: {message}"))
            .hint("check repository and tag; without `docker login`, a private image is reported as missing");
    }
    Failure::new(Kind::RegistryError, cannot)
        .hint(format!("check that the engine can reach `{registry}`, and run the same command again: it resumes"))
}
