//! An image on its way between the engine and a registry, in either direction.

pub(crate) mod credentials;
mod layers;

use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::{Failure, Kind, Result};

use crate::engine_stream::{self, Refusal};
use crate::image_name::split;
use crate::image_record::Image;
use crate::progress::Terminal;
use layers::Layers;

/// How many images are on their way at once.
pub(crate) const JOBS: usize = 3;

/// One image between the engine and a registry.
pub(crate) struct Moving<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) terminal: &'a Terminal,
    pub(crate) image: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) doing: &'a str,
}

impl Moving<'_> {
    /// Moves it, and gives its digest where it is told.
    pub(crate) async fn run(&self, uri: &str) -> Result<Option<String>> {
        let registry = credentials::registry_of(self.image);
        let known = credentials::for_registry(registry).await?.unwrap_or_default();
        // A push without the header is refused, also where the registry asks for nothing.
        let header = credentials::header(&known);
        let posted =
            engine_stream::post(self.engine, uri, &[("X-Registry-Auth", &header)], engine_stream::nothing()).await;
        let mut messages = posted.map_err(|refusal| match refusal {
            Refusal::Answer(status, words) => self.failure(Some(status.as_u16()), &words),
            Refusal::Failure(failure) => failure,
        })?;
        let mut layers = Layers::new(self.terminal, format!("{} {}", self.doing, self.image));
        while let Some(message) = messages.next().await? {
            layers.hear(&message);
            if let Some(words) = message.failure() {
                return Err(self.failure(None, words));
            }
        }
        Ok(layers.digest())
    }

    /// What a registry's refusal is. The engine answers 500 for most of them, so its words have to tell.
    fn failure(&self, status: Option<u16>, words: &str) -> Failure {
        let (verb, image) = (self.verb, self.image);
        let registry = credentials::registry_of(image);
        let cannot = format!("cannot {verb} `{image}`: {}", words.trim());
        let has = |these: &[&str]| these.iter().any(|this| words.contains(this));
        if has(&["no space left on device"]) {
            return Failure::new(Kind::DiskFull, cannot);
        }
        if has(&["nauthorized", "no basic auth credentials", "authentication required", "denied"])
            && status != Some(404)
        {
            return Failure::new(Kind::AccessDenied, cannot).hint(format!(
                "`docker login {registry}` keeps the credentials; check user, password and permissions"
            ));
        }
        if status == Some(404) || has(&["manifest unknown", "not found", "name unknown"]) {
            return Failure::new(Kind::ImageNotFound, format!("no image `{image}` in the registry: {}", words.trim()))
                .hint("check repository and tag; one that is private looks the same without `docker login`");
        }
        Failure::new(Kind::RegistryError, cannot)
            .hint(format!("does `{registry}` answer? The engine must reach it; the same command again goes on"))
    }
}

/// Brings one image, and gives its digest.
pub(crate) async fn fetch(
    engine: &Engine,
    terminal: &Terminal,
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
    Moving { engine, terminal, image, verb: "pull", doing: "pulling" }.run(&uri).await
}

/// What there is to say of an image that was moved.
pub(crate) async fn arrived(engine: &Engine, image: &str, digest: Option<String>) -> Result<Image> {
    let inspected = engine.docker().inspect_image(image).await.engine_context("look at", Subject::Image(image))?;
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
