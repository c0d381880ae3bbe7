//! `ncaas-logs usage`: samples the resources that a container uses until it ends.

use std::cell::RefCell;
use std::time::Duration;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::table::{shows_table, terminal_width};
use ncaas_core::text::one_line;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::UsageArgs;
use crate::log_source::{self, OutputOwner};
use crate::usage::{Sample, Sampler};

/// The engine takes a sample a second, and a sample may come a little early.
const EARLY: Duration = Duration::from_millis(500);

/// The width of a column of the table, with the gap before it, and the limits of the column for names.
const COLUMN: usize = 10;
const NARROWEST_NAME: usize = 16;
const WIDEST_NAME: usize = 48;

/// One sample of one container.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SampleRecord<'a> {
    #[serde(flatten)]
    owner: &'a OutputOwner,
    #[serde(flatten)]
    sample: &'a Sample,
}

pub(crate) async fn sample_usage(tool: Tool, args: UsageArgs) -> Result<ExitStatus> {
    let input = Input::arguments_or_stdin(tool, &args.targets.containers, "ncaas-exec ls | ncaas-logs usage")?;
    let engines = LazyEngine::default();
    let several = args.targets.containers.len() != 1;
    let is_table = shows_table(args.pipe.records.json);
    let shown = RefCell::new(None);
    // An interruption is how it usually ends.
    let pipe = Pipe { explains_interruption: true, ..Pipe::for_args(tool, &args.pipe, log_source::MAX_FOLLOWED) };
    pipe.for_each(input, async |record: &mut Record, output: &Output| {
        let engine = engines.get().await?;
        engine.inspect_target(record).await?;
        let container = record.container().unwrap_or_default();
        if container.has_ended() {
            tool.note(&format!("`{}` has ended: there is nothing to sample", container.name));
            return Ok(());
        }
        let owner = OutputOwner::from_record(record, several);
        let mut sampler = Sampler::new(engine, &container);
        let mut end = std::pin::pin!(engine.wait(&container.id));
        let mut last = None;
        loop {
            tokio::select! {
                ended = &mut end => return ended.map(drop),
                () = sampler.next() => {}
            }
            let now = tokio::time::Instant::now();
            let is_due = last.is_none_or(|last| now.duration_since(last) + EARLY >= args.every);
            if let Some(sample) = sampler.gauge().last().filter(|_| is_due) {
                last = Some(now);
                if is_table {
                    let line = table_line(&container.name, sample, terminal_width(), &mut shown.borrow_mut());
                    output.write(line.into_bytes()).await;
                } else {
                    output.write_json(&SampleRecord { owner: &owner, sample }).await;
                }
            }
        }
    })
    .await
}

/// A sample as a line of a table, whose columns have fixed widths: it grows while people read it. A narrow terminal
/// shows fewer of them. A name without room is on a line before its samples. `shown` is the name of the last line.
fn table_line(name: &str, sample: &Sample, width: usize, shown: &mut Option<String>) -> String {
    let cpu = sample.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.1} %"));
    let sizes = [sample.memory_bytes, sample.memory_peak_bytes, sample.read_bytes, sample.written_bytes];
    let [memory, peak, read, written] = sizes.map(format_bytes);
    let mut columns = vec![("CPU", cpu), ("MEMORY", memory), ("PEAK", peak)];
    if width >= 80 {
        columns.extend([("READ", read), ("WRITTEN", written), ("PROCS", sample.processes.to_string())]);
    }
    let room = width.saturating_sub(columns.len() * COLUMN).clamp(NARROWEST_NAME, WIDEST_NAME);
    let line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|cell| format!("{cell:>COLUMN$}")).collect();
        format!("{name:<room$}{cells}\n")
    };
    let name = one_line(name);
    let mut lines = String::new();
    if shown.is_none() {
        lines.push_str(&line("NAME", &mut columns.iter().map(|(title, _)| *title)));
    }
    let has_room = name.chars().count() <= room;
    if !has_room && shown.as_ref() != Some(&name) {
        lines.push_str(&format!("{name}\n"));
    }
    lines.push_str(&line(if has_room { &name } else { "" }, &mut columns.iter().map(|(_, cell)| cell.as_str())));
    *shown = Some(name);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_a_terminal_of_any_width() {
        let sample = Sample {
            time: jiff::Timestamp::UNIX_EPOCH,
            cpu_percent: Some(12_345.6),
            cpu_s: 1.0,
            memory_bytes: 999_900_000,
            memory_peak_bytes: 999_900_000,
            read_bytes: 5,
            written_bytes: 999_900,
            received_bytes: 0,
            sent_bytes: 0,
            processes: 12_345,
        };
        for width in [60, 80, 110, 200] {
            let name = "job__pca_2026_11_27_10_00_00_123456-2-aabbccdd";
            let mut shown = None;
            let table = table_line(name, &sample, width, &mut shown) + &table_line(name, &sample, width, &mut shown);
            let lines: Vec<&str> = table.lines().collect();
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {table}");
            // The name is shown whole, and only once if it needs a line.
            assert_eq!(
                (lines.len(), table.matches(name).count()),
                if width < 110 { (4, 1) } else { (3, 2) },
                "{table}"
            );
            assert_eq!(lines[0].contains("PROCS"), width >= 80);
        }
    }
}
