//! The parts of an image's name.

/// Repository and tag or digest of an image's name; `latest` where it names none.
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
    fn a_port_is_no_tag() {
        assert_eq!(split("127.0.0.1:5000/a"), ("127.0.0.1:5000/a", "latest"));
        assert_eq!(split("127.0.0.1:5000/a:1"), ("127.0.0.1:5000/a", "1"));
        assert_eq!(split("a@sha256:00"), ("a", "sha256:00"));
    }
}
