//! `ncaas-build push`: pushes images to registries.

use ncaas_core::engine::{LazyEngine, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::Pipe;
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PushArgs;
use crate::image_name::split;
use crate::image_record::image_records;
use crate::progress::Progress;
use crate::registry::{ImageTransfer, JOBS, transferred};

pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    let input = image_records(tool, &args.images, "ncaas-build image . | ncaas-build push")?;
    let (engine, progress) = (LazyEngine::default(), Progress::new(tool));
    Pipe::for_args(tool, &args.pipe, JOBS)
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            // The engine reports a missing image only after it has asked the registry, and without a status for it.
            engine.inspect_image(&image).await?;
            let (repository, tag) = split(&image);
            let tag = form_urlencoded::Serializer::new(String::new()).append_pair("tag", tag).finish();
            let transfer = ImageTransfer { engine, progress: &progress, image: &image, verb: "push" };
            let digest = transfer.run(&format!("/images/{repository}/push?{tag}")).await?;
            record.merge(&transferred(engine, &image, digest).await?);
            Ok(())
        })
        .await
}
