//! `ncaas-build pull`: pulls images from registries.

use ncaas_core::engine::{LazyEngine, reference};
use ncaas_core::failure::Result;
use ncaas_core::pipe::Pipe;
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PullArgs;
use crate::image_record::image_records;
use crate::progress::Progress;
use crate::registry::{JOBS, fetch, transferred};

pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    let input = image_records(tool, &args.images, "ncaas-submit watch B | ncaas-build pull")?;
    let (engine, progress) = (LazyEngine::default(), Progress::new(tool));
    Pipe::for_args(tool, &args.pipe, JOBS)
        .filter(input, async |record: &mut Record, _: &_| {
            let engine = engine.get().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            let digest = fetch(engine, &progress, &image, args.platform.as_deref()).await?;
            record.merge(&transferred(engine, &image, digest).await?);
            Ok(())
        })
        .await
}
