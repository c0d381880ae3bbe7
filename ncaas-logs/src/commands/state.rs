//! `ncaas-logs state`: shows whether a container runs or how it ended, by the engine's answer or by the record that was
//! saved when its job ended.

use std::cell::RefCell;
use std::path::Path;

use jiff::Timestamp;
use ncaas_core::duration::{format_age, format_duration};
use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{self, Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{RecordFields, Status};
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::text::serialized_name;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::json;

use crate::args::StateArgs;
use crate::log_source::{LogSource, find_log_source};

pub(crate) async fn report_state(tool: Tool, args: StateArgs) -> Result<ExitStatus> {
    let input = Input::arguments_or_stdin(tool, &args.containers, "ncaas-exec ls | ncaas-logs state")?;
    let engines = LazyEngine::default();
    let pipe = Pipe::for_args(tool, &args.pipe, 8);
    if !shows_table(args.pipe.records.json) {
        return pipe.filter(input, async |record: &mut Record, _: &Output| add_state(record, &engines).await).await;
    }
    let rows: RefCell<Vec<[String; 4]>> = RefCell::default();
    let collect = async |record: &mut Record, _: &Output| {
        add_state(record, &engines).await?;
        rows.borrow_mut().push(table_row(record));
        Ok(())
    };
    let status = pipe.for_each(input, collect).await?;
    if rows.borrow().is_empty() && status != ExitStatus::SUCCESS {
        return Ok(status);
    }
    let printed = pipe::print(tool, table(rows.take(), terminal_width()).into_bytes()).await?;
    Ok(if status == ExitStatus::SUCCESS { printed } else { status })
}

/// The table for a terminal of `width` columns.
fn table(rows: Vec<[String; 4]>, width: usize) -> String {
    let mut table = Table::new(&["NAME", "STATE", "AGE", "DURATION"]).fit(width);
    rows.into_iter().for_each(|row| table.push(row));
    table.to_string()
}

/// A container's line in the table.
fn table_row(record: &Record) -> [String; 4] {
    let container = record.container().unwrap_or_default();
    let started = container.started_at.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let age = started.map(|time| format_age(Timestamp::now().duration_since(time).as_secs()));
    let state = match (container.status, container.exit_code) {
        (Some(Status::Failed), Some(code)) => format!("failed ({code})"),
        (Some(status), _) => serialized_name(&status),
        (None, _) => container.state,
    };
    [
        if container.name.is_empty() { record.dataset_name().unwrap_or_default() } else { container.name },
        state,
        age.unwrap_or_default(),
        container.duration_s.map(format_duration).unwrap_or_default(),
    ]
}

async fn add_state(record: &mut Record, engines: &LazyEngine) -> Result<()> {
    match find_log_source(engines, record).await? {
        LogSource::Container(engine, inspected) => {
            // Inspecting does not show everything, for example who ended it. The engine's events may.
            let id = inspected.id.as_deref().unwrap_or_default();
            record.merge(&RecordFields { container: Some(engine.container(id).await?), ..RecordFields::default() });
            record.set("container", &json!({ "restarts": inspected.restart_count.unwrap_or_default() }));
        }
        LogSource::Saved(saved) => {
            let saved = saved.record.ok_or_else(|| missing_record(saved.log.path()))?;
            if record.has_only_container() {
                *record = saved;
            } else {
                for field in ["container", "logs", "cause", "usage"] {
                    saved.as_map().get(field).iter().for_each(|value| record.set(field, value));
                }
            }
        }
    }
    Ok(())
}

fn missing_record(log: &Path) -> Failure {
    Failure::new(
        Kind::BadRecord,
        format!("no record is saved beside `{}`: `ncaas-logs save` did not follow the job to its end", log.display()),
    )
    .hint("`ncaas-logs state CONTAINER` asks the engine; `ncaas-logs save` saves the record when the job ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_one_line_at_80_columns() {
        let name = "job__pca_2026_11_27_10_00_00_123456-1-aabbccdd";
        let start = Timestamp::now();
        for (end, state) in [
            (r#""state":"exited","status":"out-of-memory","exit_code":137,"duration_s":3700"#, "out-of-memory"),
            (r#""state":"exited","status":"failed","exit_code":3,"duration_s":0.7"#, "failed (3)"),
            (r#""state":"paused""#, "paused"),
        ] {
            let line = format!(r#"{{"container":{{"name":"{name}","started_at":"{start}",{end}}}}}"#);
            let shown = table(vec![table_row(&Record::parse(line.as_bytes()).unwrap())], 80);
            let lines: Vec<&str> = shown.lines().collect();
            assert!(lines.len() == 2 && lines.iter().all(|line| line.chars().count() <= 80), "{shown}");
            assert!(lines[1].contains(name) && lines[1].contains(state), "{shown}");
        }
    }
}
