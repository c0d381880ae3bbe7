//! `ncaas-exec ls`: list the tool's containers, each with the record that it was started from and its current state.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use ncaas_core::duration::format_age;
use ncaas_core::engine::{Engine, StateFiles, labels};
use ncaas_core::failure::Result;
use ncaas_core::outcome::describe_state;
use ncaas_core::pipe::Pipe;
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LsArgs;
use crate::listed_records::{inspect_record, record_with_state};
use crate::targets;

/// How many containers are inspected at once.
const INSPECTIONS: usize = 16;

/// Read the engine's state files if at least this many containers are listed: opening them costs as much as some
/// inspections.
const MANY: usize = 32;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    let engine = Engine::connect().await?;
    Pipe::for_records(tool, &args.records)
        .source(async |output| {
            let records = list_records(&engine, &args).await?;
            if shows_table(args.records.json) {
                output.write(table(&records, args.size, terminal_width()).into_bytes()).await;
            } else {
                // Written directly: a failed job in the list must not change the exit status.
                for record in &records {
                    output.write_lines(record.to_line()).await;
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
    let mut listed = engine.list_labelled(&wanted).await?;
    listed.retain(|container| is_shown(&container.state));
    let files = if listed.len() >= MANY && !args.size { StateFiles::open(engine).await } else { None };
    let inspections =
        listed.into_iter().map(async |container| match files.as_ref().and_then(|files| files.container(&container)) {
            Some(state) => Ok(Some(record_with_state(&container, state))),
            None => inspect_record(engine, container, args.size).await,
        });
    let records: Vec<Option<Record>> = stream::iter(inspections).buffered(INSPECTIONS).try_collect().await?;
    Ok(records.into_iter().flatten().filter(|record| !args.mine || targets::belongs_to_user(record)).collect())
}

/// The table for a terminal of `width` columns. With `size`, the size of each container's layer is shown. The job's id
/// is in the container's name as well.
fn table(records: &[Record], size: bool, width: usize) -> String {
    let select = |cells: [String; 6]| {
        let is_shown = [true, true, true, size, true, true];
        cells.into_iter().zip(is_shown).filter_map(|(cell, is_shown)| is_shown.then_some(cell)).collect::<Vec<_>>()
    };
    let header = select(["NAME", "STATE", "AGE", "SIZE", "DATASET", "JOB"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(&header).with_optional_last().fit(width);
    for record in records {
        if let Some(container) = record.container() {
            table.push(select(row(record, &container)));
        }
    }
    table.to_string()
}

fn row(record: &Record, container: &Container) -> [String; 6] {
    let state = describe_state(record, container);
    let started = container.started_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    let age = started.map(|started| format_age(Timestamp::now().duration_since(started).as_secs()));
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    [
        container.name.clone(),
        state,
        or_none(age),
        or_none(container.size_bytes.map(format_bytes)),
        or_none(record.dataset_name()),
        or_none(record.job().map(|job| job.id)),
    ]
}

#[cfg(test)]
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
            narrow.contains("out-of-memory")
                && narrow.contains(&format!("{id}-1-aabbccdd"))
                && narrow.contains("xxxxx"),
            "{narrow}"
        );
        assert!(!narrow.contains("JOB"), "{narrow}");
        let short = Record::parse(line.replace(&"x".repeat(60), "s1").as_bytes()).unwrap();
        assert!(table(&[short], false, 80).contains(&format!("{id}-1-aabbccdd")), "the name is whole");
        assert!(table(&[record], false, 200).contains(&format!("{id}-1-aabbccdd")));
    }
}
