//! `ncaas-exec ls`: list the tool's containers, each with the record that it was started from and its current state.

use std::future::ready;

use bollard::query_parameters::InspectContainerOptions;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::HumanBytes;
use jiff::Timestamp;
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::{Format, LsArgs};
use crate::targets;

/// How many containers are inspected at once.
const AT_ONCE: usize = 16;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    if args.schema {
        return print_schema::<Known>().await;
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let format = args.format.unwrap_or(if terminal { Format::Table } else { Format::Json });
    let engine = Engine::connect().await?;
    Pipe::new(tool, 1)
        .source(async |output| {
            let records = list_records(&engine, args.all, args.size).await?;
            match format {
                // Written directly: a failed job in the list must not change the exit status.
                Format::Json => {
                    for record in &records {
                        output.write(record.to_line()).await;
                    }
                }
                Format::Table => output.write(table(&records).into_bytes()).await,
            }
            Ok(())
        })
        .await
}

async fn list_records(engine: &Engine, all: bool, size: bool) -> Result<Vec<Record>> {
    let is_listed = |state: &str| all || !matches!(state, "exited" | "dead" | "created");
    let found = engine.labelled(&[labels::TOOL]).await?;
    stream::iter(found.into_iter().filter(|found| is_listed(&found.state)))
        .map(|found| async move { list_record(engine, &found.id, size).await })
        .buffered(AT_ONCE)
        .try_filter_map(|record| ready(Ok(record)))
        .try_collect()
        .await
}

/// The record of a listed container. `None` if it was removed meanwhile.
async fn list_record(engine: &Engine, id: &str, size: bool) -> Result<Option<Record>> {
    let mut record = targets::record_for_container(id);
    match targets::inspect_target(engine, &mut record).await {
        Ok(mut container) => {
            if size {
                container.size_bytes = layer_size(engine, id).await;
            }
            record.merge(&Known { container: Some(container), ..Known::default() });
            Ok(Some(record))
        }
        Err(failure) if failure.kind == Kind::ContainerNotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Size of a container's layer, which the engine computes on request. `None` if the container was removed.
async fn layer_size(engine: &Engine, id: &str) -> Option<u64> {
    let options = InspectContainerOptions { size: true };
    let inspected = engine.docker().inspect_container(id, Some(options)).await.ok()?;
    inspected.size_rw.and_then(|bytes| u64::try_from(bytes).ok())
}

fn table(records: &[Record]) -> String {
    let header = ["NAME", "STATE", "STATUS", "STARTED", "SIZE", "IMAGE"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(records.iter().filter_map(|record| Some(row(record, &record.container()?))));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(record: &Record, container: &Container) -> [String; 6] {
    let status = container.status.and_then(|status| serde_json::to_value(status).ok());
    let started = container.started_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    let local =
        |at: Timestamp| at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    [
        container.name.clone(),
        container.state.clone(),
        status.as_ref().and_then(serde_json::Value::as_str).unwrap_or("-").to_owned(),
        started.map_or("-".to_owned(), local),
        container.size_bytes.map_or("-".to_owned(), |bytes| HumanBytes(bytes).to_string()),
        record.text("image").unwrap_or("-").to_owned(),
    ]
}
