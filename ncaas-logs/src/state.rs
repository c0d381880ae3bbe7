//! `ncaas-logs state`: how a container fares, or how it ended; from the engine, or from the record that was saved when
//! its job ended.

use std::path::Path;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::json;

use crate::args::StateArgs;
use crate::saved::Saved;
use crate::subject;

pub(crate) async fn state(tool: Tool, args: StateArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = subject::input(tool, &args.containers, "ncaas-exec ls | ncaas-logs state")?;
    let engines = LazyEngine::default();
    let pipe = Pipe::new(tool, args.pipe.jobs_or(8));
    pipe.filter(input, async |record: &mut Record, _: &Output| look(record, &args, &engines).await).await
}

async fn look(record: &mut Record, args: &StateArgs, engines: &LazyEngine) -> Result<()> {
    if let Some(saved) = subject::named_file(record, &args.containers)? {
        *record = saved.record.ok_or_else(|| unfinished(saved.log.path()))?;
        return Ok(());
    }
    match ask(record, engines).await {
        Ok(()) => Ok(()),
        Err(failure) => match Saved::of(record).and_then(|saved| saved.record) {
            Some(saved) => {
                let Known { container, logs, usage, .. } = saved.known()?;
                record.merge(&Known { container, logs, usage, ..Known::default() });
                if let Some(extra) = saved.as_map().get("container") {
                    record.set("container", extra);
                }
                Ok(())
            }
            None => Err(failure),
        },
    }
}

fn unfinished(log: &Path) -> Failure {
    Failure::new(
        Kind::BadRecord,
        format!("no record was saved beside `{}`: its job was not followed to its end", log.display()),
    )
    .hint("`ncaas-logs state CONTAINER` asks the engine; `ncaas-logs save` saves the record when the job has ended")
}

async fn ask(record: &mut Record, engines: &LazyEngine) -> Result<()> {
    let wanted = subject::container(record)?;
    let engine = engines.get().await?;
    let inspected = engine.inspect(&wanted).await?;
    subject::complete(record, &inspected);
    // What a look does not show, like who ended it, the engine's events may still tell.
    let id = inspected.id.as_deref().unwrap_or(&wanted);
    record.merge(&Known { container: Some(engine.container(id).await?), ..Known::default() });
    record.set("container", &json!({ "restarts": inspected.restart_count.unwrap_or_default() }));
    Ok(())
}
