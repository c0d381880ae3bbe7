//! Transfers images between the engine and registries, in both directions.

pub(crate) mod credentials;
mod layers;

use hyper::StatusCode;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};

use crate::engine_stream;
use crate::image_name::split;
use crate::image_record::Image;
use crate::progress::Progress;
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
        let refused = |status: StatusCode, message: &str| self.failure(Some(status), message);
        let mut messages = posted.map_err(|refusal| refusal.into_failure(refused))?;
        let mut layers = Layers::new(self.progress, format!("{}ing {}", self.verb, self.image));
        while let Some(message) = messages.next().await? {
            layers.add(&message);
            if let Some(reason) = message.failure() {
                return Err(self.failure(None, reason.trim()));
            }
        }
        Ok(layers.digest())
    }

    /// The failure behind an error of a registry. The engine answers 500 for most of them, so the message has to tell.
    fn failure(&self, status: Option<StatusCode>, message: &str) -> Failure {
        let (verb, image) = (self.verb, self.image);
        let registry = credentials::registry_of(image);
        let cannot = format!("cannot {verb} `{image}`: {message}");
        let has = |these: &[&str]| these.iter().any(|this| message.contains(this));
        if has(&["no space left on device"]) {
            return Failure::new(Kind::DiskFull, cannot);
        }
        if has(&["nauthorized", "no basic auth credentials", "authentication required", "denied"])
            && status != Some(StatusCode::NOT_FOUND)
        {
            return Failure::new(Kind::AccessDenied, cannot).hint(format!(
                "log in with `docker login {registry}`, and check that the account may {verb} this image"
            ));
        }
        if status == Some(StatusCode::NOT_FOUND) || has(&["manifest unknown", "not found", "name unknown"]) {
            return Failure::new(Kind::ImageNotFound, format!("image `{image}` is not in the registry: {message}"))
                .hint("check repository and tag; without `docker login`, a private image is reported as missing");
        }
        Failure::new(Kind::RegistryError, cannot)
            .hint(format!("check that the engine can reach `{registry}`, and run the same command again: it resumes"))
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
