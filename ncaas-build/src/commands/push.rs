//! `ncaas-build push`: images to their registries.

use ncaas_core::engine::{EngineContext, LazyEngine, Subject, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PushArgs;
use crate::image_name::split;
use crate::image_record::{Image, Written, images};
use crate::progress::Terminal;
use crate::registry::{JOBS, Moving, arrived};

/// Takes images to their registries.
pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-build image . | ncaas-build push")?;
    let (engine, terminal) = (LazyEngine::default(), Terminal::new());
    Pipe::new(tool, args.pipe.jobs_or(JOBS))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            // The engine would tell of it only in words, and only after it has asked the registry.
            engine.docker().inspect_image(&image).await.engine_context("look at", Subject::Image(&image))?;
            let (repository, tag) = split(&image);
            let tag = form_urlencoded::Serializer::new(String::new()).append_pair("tag", tag).finish();
            let moving = Moving { engine, terminal: &terminal, image: &image, verb: "push", doing: "pushing" };
            let digest = moving.run(&format!("/images/{repository}/push?{tag}")).await?;
            arrived(engine, &image, digest).await?.merge_into(record);
            Ok(())
        })
        .await
}
