//! `ncaas-build load`: loads the images of a file into the engine.

use std::path::Path;

use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files::absolute;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LoadArgs;
use crate::engine_stream;
use crate::image_record::Image;

pub(crate) async fn load(tool: Tool, args: LoadArgs) -> Result<ExitStatus> {
    let file = absolute(&args.file)?;
    let record = Record::new(&Image { file: Some(file.display().to_string()), ..Image::default() });
    Pipe::for_records(tool, &args.records)
        .for_each(Input::record(record), async |record: &mut Record, output: &Output| {
            let engine = Engine::connect().await?;
            let loaded = send(&engine, &file).await?;
            for name in loaded {
                let inspected = engine.inspect_image(&name).await?;
                let mut loaded = record.clone();
                let image = Some(name).filter(|name| !name.starts_with("sha256:"));
                loaded.merge(&Image { image, image_id: inspected.id, ..Image::default() });
                output.emit(&loaded).await;
            }
            Ok(())
        })
        .await
}

/// Sends the file to the engine, and returns the names, or ids, of its images.
async fn send(engine: &Engine, file: &Path) -> Result<Vec<String>> {
    let opened = tokio::fs::File::open(file).await.doing("read", file)?;
    let body = engine_stream::stream_body(opened, file);
    let headers = [("Content-Type", "application/x-tar")];
    let refused = |message: &str| {
        Failure::new(Kind::EngineError, format!("cannot load `{}`: {message}", file.display()))
            .hint("the file must be an archive made by `ncaas-build save` or `docker save`")
    };
    let posted = engine_stream::post(engine, "/images/load?quiet=1", &headers, body).await;
    let mut messages = posted.map_err(|refusal| refusal.into_failure(|_, message| refused(message)))?;
    let mut loaded = Vec::new();
    while let Some(message) = messages.next().await? {
        if let Some(reason) = message.failure() {
            return Err(refused(reason.trim()));
        }
        let text = message.stream.unwrap_or_default();
        let name = text.strip_prefix("Loaded image: ").or_else(|| text.strip_prefix("Loaded image ID: "));
        loaded.extend(name.map(|name| name.trim().to_owned()));
    }
    if loaded.is_empty() { Err(refused("it contains no image")) } else { Ok(loaded) }
}
