//! The failure for an image that does not exist on the engine.

use crate::failure::{Failure, Kind};

/// The failure for an image that does not exist on the engine.
pub(crate) fn image_not_found(image: &str) -> Failure {
    let hint = if can_be_pulled(image) {
        format!("pull it with `ncaas-build pull {image}`, or build it with `ncaas-build image`")
    } else {
        "build it with `ncaas-build image`; `ncaas-build ls` lists images".to_owned()
    };
    Failure::new(Kind::ImageNotFound, format!("image `{image}` does not exist on this engine")).hint(hint)
}

/// Whether a registry can have an image of this name. Docker Hub's own images have neither a `/` nor a `.` in their
/// names.
pub(super) fn can_be_pulled(image: &str) -> bool {
    let last = image.rfind('/').map_or(0, |at| at + 1);
    let repository = image[last..].split([':', '@']).next().unwrap_or_default();
    let is_id = image.starts_with("sha256:") || (image.len() >= 12 && image.chars().all(|c| c.is_ascii_hexdigit()));
    let is_lower_case = !image[..last + repository.len()].chars().any(|c| c.is_ascii_uppercase());
    is_lower_case && !is_id && (last > 0 || !repository.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_a_registry_can_have_is_pulled() {
        for name in ["neurocaas/contrib:pca.356d78a", "debian:12", "python", "host:5000/a:B", "a/b@sha256:00ff"] {
            assert!(can_be_pulled(name), "{name}");
        }
        for name in ["an.demo", "Mean:demo", "sha256:00ff", "0123456789ab"] {
            assert!(!can_be_pulled(name), "{name}");
        }
    }
}
