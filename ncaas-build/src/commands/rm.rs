//! `ncaas-build rm`: images removed from the engine.

use bollard::query_parameters::RemoveImageOptions;
use ncaas_core::engine::{EngineContext, LazyEngine, Subject, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RmArgs;
use crate::image_record::{Image, Written, images};

/// Removes names, and images that have none left.
pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Written<Image>>().await;
    }
    let input = images(tool, &args.images, "ncaas-build ls | jq -c 'select(.age_s > 2e6)' | ncaas-build rm")?;
    let engine = LazyEngine::default();
    Pipe::new(tool, args.pipe.jobs_or(4))
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            let docker = engine.docker();
            let inspected = docker.inspect_image(&image).await.engine_context("look at", Subject::Image(&image))?;
            let options = RemoveImageOptions { force: args.force, ..Default::default() };
            docker
                .remove_image(&image, Some(options), None)
                .await
                .engine_context("remove", Subject::Image(&image))
                .map_err(|failure| {
                    match failure.message.contains("is using its referenced image")
                        || failure.message.contains("conflict")
                    {
                        true => failure
                            .hint("remove the containers that were made from it (`ncaas-exec ls --all`), or `--force`"),
                        false => failure,
                    }
                })?;
            Image { image_id: inspected.id, ..Image::default() }.merge_into(record);
            Ok(())
        })
        .await
}
