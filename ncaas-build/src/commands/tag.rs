//! `ncaas-build tag`: gives an image a second name.

use bollard::query_parameters::TagImageOptions;
use ncaas_core::engine::{Engine, EngineContext, Subject, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::TagArgs;
use crate::image_name::split;
use crate::image_record::Image;

pub(crate) async fn tag(tool: Tool, args: TagArgs) -> Result<ExitStatus> {
    let record = Record::new(&Image { image: Some(args.target.clone()), ..Image::default() });
    Pipe::for_records(tool, &args.records)
        .filter(Input::record(record), async |record: &mut Record, _: &_| {
            let engine = Engine::connect().await?;
            let (source, target) = (reference::image(&args.source)?, reference::image(&args.target)?);
            let (repo, tag) = split(target);
            if tag.contains(':') {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("`{target}` is a digest, which cannot be the name of an image"),
                ));
            }
            engine.inspect_image(source).await?;
            let options = TagImageOptions { repo: Some(repo.to_owned()), tag: Some(tag.to_owned()) };
            engine.docker().tag_image(source, Some(options)).await.engine_context("tag", Subject::Image(source))?;
            let inspected = engine.inspect_image(target).await?;
            record.merge(&Image { image_id: inspected.id, ..Image::default() });
            Ok(())
        })
        .await
}
