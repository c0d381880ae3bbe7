//! The parts of the name of an image.

/// The repository, and the tag or digest, in the name of an image; `latest` if it has neither.
pub(crate) fn split(image: &str) -> (&str, &str) {
    if let Some((repository, digest)) = image.split_once('@') {
        return (repository, digest);
    }
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(split("127.0.0.1:5000/a"), ("127.0.0.1:5000/a", "latest"));
        assert_eq!(split("127.0.0.1:5000/a:1"), ("127.0.0.1:5000/a", "1"));
        assert_eq!(split("a@sha256:00"), ("a", "sha256:00"));
    }
}
