//! `ncaas-build save`: saves an image to a file, for machines without a registry.

use std::io::Write;
use std::path::Path;

use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, Subject, reference};
use ncaas_core::failure::{IoContext, Result};
use ncaas_core::files::{absolute, make_folder, temporary_beside};
use ncaas_core::pipe::{Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::SaveArgs;
use crate::image_record::Image;
use crate::progress::Progress;

/// Saves an image. The file appears complete or not at all.
pub(crate) async fn save(tool: Tool, args: SaveArgs) -> Result<ExitStatus> {
    let file = absolute(&args.output)?;
    let known = Image { image: Some(args.image), file: Some(file.display().to_string()), ..Image::default() };
    Pipe::for_records(tool, &args.records)
        .filter(Input::record(Record::new(&known)), async |record: &mut Record, _: &_| {
            let engine = Engine::connect().await?;
            let image = reference::image(record.require("image")?)?.to_owned();
            let inspected = engine.inspect_image(&image).await?;
            let size = write(tool, &engine, &image, &file, inspected.size.unwrap_or_default().unsigned_abs()).await?;
            record.merge(&Image { image_id: inspected.id, size: Some(size), ..Image::default() });
            Ok(())
        })
        .await
}

async fn write(tool: Tool, engine: &Engine, image: &str, file: &Path, expected: u64) -> Result<u64> {
    make_folder(file.parent().unwrap_or(Path::new("/")))?;
    let mut part = temporary_beside(file)?;
    let progress = Progress::new(tool);
    let mut bar = progress.bar(&format!("saving {image}"), expected);
    let mut pieces = std::pin::pin!(engine.docker().export_image(image));
    let mut size = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.engine_context("save", Subject::Image(image))?;
        part.write_all(&piece).doing("write", file)?;
        size += piece.len() as u64;
        bar.set(size);
    }
    part.persist(file).map_err(|error| error.error).doing("write", file)?;
    Ok(size)
}
