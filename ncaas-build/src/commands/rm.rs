//! `ncaas-build rm`: removes images from the engine.

use bollard::query_parameters::RemoveImageOptions;
use ncaas_core::engine::{EngineContext, LazyEngine, Subject, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::Pipe;
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RmArgs;
use crate::image_record::{Image, image_records};

/// Removes names of images, and images without a name left.
pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    let input = image_records(tool, &args.images, "ncaas-build ls | jq -c 'select(.age_s > 2e6)' | ncaas-build rm")?;
    let engine = LazyEngine::default();
    Pipe::for_args(tool, &args.pipe, 4)
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            let docker = engine.docker();
            let inspected = engine.inspect_image(&image).await?;
            let options = RemoveImageOptions { force: args.force, ..Default::default() };
            docker
                .remove_image(&image, Some(options), None)
                .await
                .engine_context("remove", Subject::Image(&image))
                .map_err(|failure| {
                    let conflicts = ["is using its referenced image", "conflict"];
                    if conflicts.iter().any(|words| failure.message.contains(words)) {
                        return failure
                            .hint("remove the containers that use it (`ncaas-exec ls --all`), or use `--force`");
                    }
                    failure
                })?;
            record.merge(&Image { image_id: inspected.id, ..Image::default() });
            Ok(())
        })
        .await
}
