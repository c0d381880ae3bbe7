//! `ncaas-exec ls`: list the tool's containers, each with the record that it was started from and its current state.

use std::os::unix::fs::MetadataExt;

use bollard::query_parameters::InspectContainerOptions;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::labels::{self, LabelledContainer};
use ncaas_core::engine::{Engine, EngineContext, Owner, Subject};
use ncaas_core::failure::Result;
use ncaas_core::layout::base_name;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Datasets, RecordFields};
use ncaas_core::text;
use ncaas_core::tool::{ExitStatus, Tool};
use rustix::termios::tcgetwinsize;

use crate::args::{Format, LsArgs};

/// The column for the size, and those whose width depends on the terminal's.
const SIZE_COLUMN: usize = 3;
const NAMED_COLUMNS: [usize; 3] = [0, 4, 5];
const MIN_NAME: usize = 8;
/// The terminal's width, if it is not known.
const DEFAULT_WIDTH: usize = 80;

/// How many containers are inspected at once.
const INSPECTIONS: usize = 16;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<RecordFields>().await;
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let format = args.format.unwrap_or(if terminal { Format::Table } else { Format::Json });
    let engine = Engine::connect().await?;
    Pipe::new(tool, 1)
        .source(async |output| {
            let records = list_records(&engine, &args).await?;
            match format {
                // Written directly: a failed job in the list must not change the exit status.
                Format::Json => {
                    for record in &records {
                        output.write_lines(record.to_line()).await;
                    }
                }
                Format::Table => {
                    let width = tcgetwinsize(std::io::stdout()).map_or(DEFAULT_WIDTH, |size| usize::from(size.ws_col));
                    output.write(table(&records, args.size, width).into_bytes()).await;
                }
            }
            Ok(())
        })
        .await
}

/// Inspects the listed containers, some at a time. The answers keep the order of the list.
async fn list_records(engine: &Engine, args: &LsArgs) -> Result<Vec<Record>> {
    let placement = args.placement.as_ref().map(|placement| format!("{}={placement}", labels::PLACEMENT));
    let wanted: Vec<&str> = [labels::TOOL].into_iter().chain(placement.as_deref()).collect();
    let is_shown = |state: &str| args.all || !matches!(state, "exited" | "dead" | "created");
    let listed = engine.list_labelled(&wanted).await?.into_iter().filter(|container| is_shown(&container.state));
    let inspections = listed.map(|container| inspect_record(engine, container, args.size));
    let records: Vec<Option<Record>> = stream::iter(inspections).buffered(INSPECTIONS).try_collect().await?;
    Ok(records.into_iter().flatten().filter(|record| !args.mine || is_mine(record)).collect())
}

/// The record of a listed container with its current state; `None` if it was removed meanwhile.
async fn inspect_record(engine: &Engine, listed: LabelledContainer, size: bool) -> Result<Option<Record>> {
    let options = InspectContainerOptions { size };
    let inspected = match engine.docker().inspect_container(&listed.id, Some(options)).await {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        inspected => inspected.engine_context("inspect", Subject::Container(&listed.id))?,
    };
    let mut container = container_from_inspect(&inspected);
    container.size_bytes = inspected.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
    let mut record = listed.record().unwrap_or_default();
    record.merge(&RecordFields { container: Some(container), ..RecordFields::default() });
    Ok(Some(record))
}

/// The table for a terminal of `width` columns. With `size`, the size of each container's layer is shown.
fn table(records: &[Record], size: bool, width: usize) -> String {
    let header = ["NAME", "STATE", "AGE", "SIZE", "DATASET", "JOB"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(records.iter().filter_map(|record| Some(row(record, &record.container()?))));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if !size {
        widths[SIZE_COLUMN] = 0;
    }
    // The columns with names share what the others leave.
    let is_named = |column: usize| NAMED_COLUMNS.contains(&column);
    let shown = widths.iter().filter(|width| **width > 0).count();
    let fixed: usize = (0..6).filter(|column| !is_named(*column)).map(|column| widths[column]).sum();
    let share = width.saturating_sub(fixed + 2 * (shown - 1)) / NAMED_COLUMNS.len();
    for column in NAMED_COLUMNS {
        widths[column] = widths[column].min(share.max(MIN_NAME));
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let cells = cells.map(|(cell, width)| format!("{:width$}", fit(cell, width)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A cell that is not wider than its column.
fn fit(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width { cell.to_owned() } else { text::shorten(cell, width.saturating_sub(1)) }
}

fn row(record: &Record, container: &Container) -> [String; 6] {
    let status = container.status.and_then(|status| serde_json::to_value(status).ok());
    let state = status.as_ref().and_then(serde_json::Value::as_str).unwrap_or(&container.state);
    let started = container.started_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    let dataset = match record.dataname() {
        Some(Datasets::One(name)) => text::one_line(base_name(&name)),
        _ => "-".to_owned(),
    };
    [
        container.name.clone(),
        state.to_owned(),
        started.map_or("-".to_owned(), age),
        container.size_bytes.map_or("-".to_owned(), format_bytes),
        dataset,
        record.job().map_or("-".to_owned(), |job| text::one_line(&job.id)),
    ]
}

/// The time since `start` in its largest unit.
fn age(start: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(start).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// Whether the io-dir of a record belongs to this user.
fn is_mine(record: &Record) -> bool {
    let io_dir = record.text("io_dir").and_then(|io_dir| std::fs::metadata(io_dir).ok());
    io_dir.is_some_and(|io_dir| io_dir.uid() == Owner::current().uid)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose record cannot be parsed has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_the_terminal_and_names_job_and_dataset() {
        let id = "job__pca_2026_11_27_10_00_00_123456";
        let line = format!(
            r#"{{"job":{{"id":"{id}"}},"dataname":"/d/{}.npy","container":{{"name":"{id}-1-aabbccdd","state":"exited","status":"out-of-memory"}}}}"#,
            "x".repeat(60)
        );
        let record = Record::parse(line.as_bytes()).unwrap();
        let narrow = table(std::slice::from_ref(&record), false, 80);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(
            narrow.contains("out-of-memory") && narrow.contains("job__pca_20") && narrow.contains("xxxxx"),
            "{narrow}"
        );
        assert!(table(&[record], false, 200).contains(&format!("{id}-1-aabbccdd")));
    }
}
