//! `ncaas-build pull`: images from their registries.

use ncaas_core::engine::{Engine, LazyEngine, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PullArgs;
use crate::fields::{Image, Written, images};
use crate::name::split;
use crate::registry::{JOBS, Moving, arrived};
use crate::terminal::Terminal;

/// Brings images from their registries.
pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-submit watch B | ncaas-build pull")?;
    let (engine, terminal) = (LazyEngine::default(), Terminal::new());
    Pipe::new(tool, args.pipe.jobs_or(JOBS))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
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
