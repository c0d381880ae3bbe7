//! The failure for an image that does not exist on the engine, with what the user most likely meant.

use std::time::{Duration, Instant};

use bollard::query_parameters::ListImagesOptions;

use super::Engine;
use crate::failure::{Failure, Kind};
use crate::suggestion::nearest_spelling;

/// How old a list of images may be: thousands of records can name the same missing image.
const LIST_AGE: Duration = Duration::from_secs(5);

/// The names of the engine's images, and when they were listed.
pub(super) type ListedTags = Option<(Instant, Vec<String>)>;

/// The failure for an image that does not exist on the engine.
pub(crate) fn image_not_found(image: &str) -> Failure {
    let hint = if can_be_pulled(image) {
        format!("pull it with `ncaas-build pull {image}`, or build it with `ncaas-build image`")
    } else {
        "build it with `ncaas-build image`; `ncaas-build ls` lists images".to_owned()
    };
    Failure::new(Kind::ImageNotFound, format!("image `{image}` does not exist on this engine")).hint(hint)
}

impl Engine {
    /// The failure for a missing image with the most similar name on the engine in its hint, if there is one.
    pub(super) async fn suggest_image(&self, name: &str, failure: Failure) -> Failure {
        let mut listed = self.listed_tags.lock().await;
        if listed.as_ref().is_none_or(|(at, _)| at.elapsed() > LIST_AGE) {
            // Without a list, the failure stays as it is.
            let images = self.docker.list_images(None::<ListImagesOptions>).await.unwrap_or_default();
            *listed = Some((Instant::now(), images.into_iter().flat_map(|image| image.repo_tags).collect()));
        }
        let tags = listed.as_ref().map(|(_, tags)| tags.as_slice()).unwrap_or_default();
        let Some(similar) = similar_image(name, tags) else { return failure };
        let pull = if name.contains('/') && can_be_pulled(name) {
            format!(" Otherwise pull it with `ncaas-build pull {name}`")
        } else {
            String::new()
        };
        failure.hint(format!("did you mean `{similar}`?{pull}"))
    }
}

/// The image that a misspelt name, or the end of a name, most likely means.
fn similar_image<'t>(name: &str, tags: &'t [String]) -> Option<&'t str> {
    let spellings = tags.iter().flat_map(|tag| {
        let tag = tag.as_str();
        let last = tag.rsplit('/').next().unwrap_or(tag);
        let of_version = last.split_once(':').map(|(_, version)| version).filter(|version| *version != "latest");
        [Some(tag), Some(last), last.strip_suffix(":latest"), of_version]
            .into_iter()
            .flatten()
            .map(move |form| (form, tag))
    });
    nearest_spelling(name, spellings)
}

/// Whether a registry can have an image of this name. Docker Hub's own images have neither a `/` nor a `.` in their names.
fn can_be_pulled(image: &str) -> bool {
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
    fn a_misspelt_image_or_the_end_of_its_name_finds_it() {
        let tags = ["neurocaas/contrib:an.demo", "neurocaas/contrib:base", "busybox:latest", "host:5000/lab/pca:1"]
            .map(str::to_owned);
        let cases = [
            ("an.demo", Some("neurocaas/contrib:an.demo")),
            ("contrib:an.dmo", Some("neurocaas/contrib:an.demo")),
            ("neurocas/contrib:an.demo", Some("neurocaas/contrib:an.demo")),
            ("bsae", Some("neurocaas/contrib:base")),
            ("busybx", Some("busybox:latest")),
            ("neurocaas/contrib:pca.356d78a", None),
            ("debian", None),
        ];
        for (name, expected) in cases {
            assert_eq!(similar_image(name, &tags), expected, "{name}");
        }
    }

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
