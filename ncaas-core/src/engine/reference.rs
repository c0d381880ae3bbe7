//! Checks of the names of containers and images before they become part of a request's path.
//!
//! The client does not escape them, and `..` in a URL is resolved before it is sent: a record with the container
//! `../images/x` would remove an image. Every name from outside is checked here.

use bollard::models::ContainerInspectResponse;

use crate::engine::errors::container_not_found;
use crate::engine::missing_image::image_not_found;
use crate::failure::{Failure, Kind, Result};

/// The name or id of a container, if it can be one (moby's rule: letters, digits, `_`, `.` and `-`, beginning with a
/// letter or digit).
///
/// # Errors
/// [`Kind::ContainerNotFound`]: no container can have this name.
pub fn container(name: &str) -> Result<&str> {
    let mut chars = name.chars();
    let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts_well && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        Ok(name)
    } else {
        Err(container_not_found(name))
    }
}

/// The name of an inspected container, without the engine's leading slash.
pub fn container_name(inspected: &ContainerInspectResponse) -> &str {
    inspected.name.as_deref().unwrap_or_default().trim_start_matches('/')
}

/// The name or id of an image, if it can be one: `[registry[:port]/]name[:tag][@digest]`.
///
/// # Errors
/// [`Kind::ImageNotFound`]: no image can have this name.
pub fn image(name: &str) -> Result<&str> {
    let allowed = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/:@".contains(c));
    let parts_are_names = name.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if allowed && parts_are_names {
        Ok(name)
    } else {
        Err(image_not_found(name).hint("an image's name is `[registry/]name[:tag]`: letters, digits, `_`, `.`, `-`"))
    }
}

/// A path in a container. It must be absolute: the engine takes any other path as relative to `/`.
///
/// # Errors
/// [`Kind::Usage`] if it is not absolute.
pub(super) fn path(path: &str) -> Result<&str> {
    if path.starts_with('/') && !path.contains('\0') {
        Ok(path)
    } else {
        Err(Failure::new(Kind::Usage, format!("`{path}` is not an absolute path in the container")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_the_request_elsewhere() {
        for name in ["../images/x", "a/b", "a?force=1", "a#b", "a b", "", ".", "..", "a%2fb", "é"] {
            assert!(container(name).is_err(), "{name}");
        }
        for name in ["../x", "a/../../b", "a?b", "/a", "a//b", "", "a b", "a#b"] {
            assert!(image(name).is_err(), "{name}");
        }
    }

    #[test]
    fn real_names_pass() {
        assert!(container("pca_1.session-1").is_ok());
        for name in ["neurocaas/contrib:pca.356d78a", "127.0.0.1:5000/a/b@sha256:00ff", "sha256:00ff", "busybox"] {
            assert!(image(name).is_ok(), "{name}");
        }
    }
}
