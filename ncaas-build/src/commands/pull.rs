//! `ncaas-build pull`: images from their registries.

use ncaas_core::engine::{LazyEngine, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PullArgs;
use crate::image_record::{Image, Written, images};
use crate::progress::Terminal;
use crate::registry::{JOBS, arrived, fetch};

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
