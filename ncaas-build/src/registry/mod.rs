//! Transfers images between the engine and registries, in both directions.

pub(crate) mod credentials;
mod failure;
mod layers;

use hyper::StatusCode;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;

use crate::engine_stream;
use crate::image_name::split;
use crate::image_record::Image;
use crate::progress::Progress;
use failure::failure;
use layers::Layers;

/// Number of images that are transferred at once.
pub(crate) const JOBS: usize = 3;

/// One image that is pulled or pushed.
pub(crate) struct ImageTransfer<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) progress: &'a Progress,
    pub(crate) image: &'a str,
    /// `pull` or `push`.
    pub(crate) verb: &'a str,
}

impl ImageTransfer<'_> {
    /// Transfers it, and returns its digest if the engine reports one.
    pub(crate) async fn run(&self, uri: &str) -> Result<Option<String>> {
        let registry = credentials::registry_of(self.image);
        let known = credentials::for_registry(registry).await?.unwrap_or_default();
        // The engine refuses a push without the header, even if the registry needs no credentials.
        let header = credentials::header(&known);
        let posted =
            engine_stream::post(self.engine, uri, &[("X-Registry-Auth", &header)], engine_stream::empty_body()).await;
        let failed = |status: Option<StatusCode>, message: &str| failure(self.verb, self.image, status, message);
        let mut messages =
            posted.map_err(|refusal| refusal.into_failure(|status, message| failed(Some(status), message)))?;
        let mut layers = Layers::new(self.progress, format!("{}ing {}", self.verb, self.image));
        while let Some(message) = messages.next().await? {
            layers.add(&message);
            if let Some(reason) = message.failure() {
                return Err(failed(None, reason.trim()));
            }
        }
        Ok(layers.digest())
    }
}

/// Pulls one image, and returns its digest.
pub(crate) async fn fetch(
    engine: &Engine,
    progress: &Progress,
    image: &str,
    platform: Option<&str>,
) -> Result<Option<String>> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let (repository, tag) = split(image);
    query.append_pair("fromImage", repository).append_pair("tag", tag);
    if let Some(platform) = platform {
        query.append_pair("platform", platform);
    }
    let uri = format!("/images/create?{}", query.finish());
    ImageTransfer { engine, progress, image, verb: "pull" }.run(&uri).await
}

/// The record of a transferred image.
pub(crate) async fn transferred(engine: &Engine, image: &str, digest: Option<String>) -> Result<Image> {
    let inspected = engine.inspect_image(image).await?;
    let known = || {
        let digests = inspected.repo_digests.iter().flatten();
        let repository = split(image).0;
        digests
            .filter_map(|digest| digest.split_once('@'))
            .find(|(name, _)| *name == repository)
            .map(|(_, d)| d.to_owned())
    };
    Ok(Image {
        image_id: inspected.id.clone(),
        digest: digest.or_else(known),
        size: inspected.size.and_then(|size| u64::try_from(size).ok()),
        ..Image::default()
    })
}
