//! The image on the engine that a misspelt name most likely means.

use std::time::{Duration, Instant};

use bollard::query_parameters::ListImagesOptions;

use super::connection::Engine;
use super::missing_image::can_be_pulled;
use crate::failure::Failure;
use crate::suggestion::nearest_spelling;

/// How old a list of images may be: thousands of records can name the same missing image.
const LIST_AGE: Duration = Duration::from_secs(5);

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
}
