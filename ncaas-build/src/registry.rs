//! `ncaas-build pull` and `ncaas-build push`: images from and to registries.

use ncaas_core::engine::{Asked, Engine, EngineContext, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::sync::OnceCell;

use crate::args::{PullArgs, PushArgs};
use crate::credentials;
use crate::fields::{Image, Written};
use crate::layers::Layers;
use crate::messages::{self, Refusal};
use crate::terminal::Terminal;

/// How many images are on their way at once.
const JOBS: usize = 3;

/// Brings images from their registries.
pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-submit watch B | ncaas-build pull")?;
    let (engine, terminal) = (OnceCell::new(), Terminal::new());
    Pipe::new(tool, args.pipe.jobs_or(JOBS))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get_or_try_init(Engine::connect).await?;
            let image = reference::image(record.need("image")?)?.to_owned();
            let digest = fetch(engine, &terminal, &image, args.platform.as_deref()).await?;
            arrived(engine, &image, digest).await?.merge_into(record);
            Ok(())
        })
        .await
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

/// Takes images to their registries.
pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-build image . | ncaas-build push")?;
    let (engine, terminal) = (OnceCell::new(), Terminal::new());
    Pipe::new(tool, args.pipe.jobs_or(JOBS))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get_or_try_init(Engine::connect).await?;
            let image = reference::image(record.need("image")?)?.to_owned();
            // The engine would tell of it only in words, and only after it has asked the registry.
            engine.docker().inspect_image(&image).await.asking("look at", Asked::Image(&image))?;
            let (repository, tag) = split(&image);
            let tag = form_urlencoded::Serializer::new(String::new()).append_pair("tag", tag).finish();
            let moving = Moving { engine, terminal: &terminal, image: &image, verb: "push", doing: "pushing" };
            let digest = moving.run(&format!("/images/{repository}/push?{tag}")).await?;
            arrived(engine, &image, digest).await?.merge_into(record);
            Ok(())
        })
        .await
}

/// The records that a verb works on: those of the images that it was given, else those from stdin.
pub(crate) fn images(tool: Tool, images: &[String], usage: &str) -> Result<Input> {
    if images.is_empty() {
        return Input::stdin(tool, usage);
    }
    let record = |image: &String| Image { image: Some(image.clone()), ..Image::default() }.record();
    Ok(Input::records(images.iter().map(record)))
}

/// One image between the engine and a registry.
struct Moving<'a> {
    engine: &'a Engine,
    terminal: &'a Terminal,
    image: &'a str,
    verb: &'a str,
    doing: &'a str,
}

impl Moving<'_> {
    async fn run(&self, uri: &str) -> Result<Option<String>> {
        let registry = credentials::registry_of(self.image);
        let known = credentials::for_registry(registry).await?.unwrap_or_default();
        // A push without the header is refused, also where the registry asks for nothing.
        let header = credentials::header(&known);
        let posted = messages::post(self.engine, uri, &[("X-Registry-Auth", &header)], messages::nothing()).await;
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

async fn arrived(engine: &Engine, image: &str, digest: Option<String>) -> Result<Image> {
    let inspected = engine.docker().inspect_image(image).await.asking("look at", Asked::Image(image))?;
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
