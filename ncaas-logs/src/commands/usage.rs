//! `ncaas-logs usage`: samples the resources that a container uses until it ends.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::text::{one_line, shorten};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::UsageArgs;
use crate::targets::{self, Owner};
use crate::usage::{Sample, Sampler};

/// The engine takes a sample a second, and a sample may come a little early.
const EARLY: Duration = Duration::from_millis(500);

/// One sample of one container.
#[derive(Debug, Serialize, JsonSchema)]
struct SampleRecord<'a> {
    #[serde(flatten)]
    owner: &'a Owner,
    #[serde(flatten)]
    sample: &'a Sample,
}

pub(crate) async fn sample_usage(tool: Tool, args: UsageArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<SampleRecord<'_>>().await;
    }
    let input = targets::input(tool, &args.containers, "ncaas-exec ls | ncaas-logs usage")?;
    let engines = LazyEngine::default();
    let several = args.containers.len() != 1;
    let is_table = std::io::stdout().is_terminal() && !args.json;
    let has_header = Cell::new(false);
    let pipe = Pipe::new(tool, args.pipe.jobs_or(targets::MAX_FOLLOWED));
    pipe.each(input, async |record: &mut Record, output: &Output| {
        let engine = engines.get().await?;
        targets::inspect_target(engine, record).await?;
        let container = record.container().unwrap_or_default();
        if container.has_ended() {
            tool.note(&format!("`{}` has ended: there is nothing to sample", container.name));
            return Ok(());
        }
        let owner = Owner::from_record(record, several);
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
                let line = if is_table {
                    table_line(&container.name, sample, !has_header.replace(true))
                } else {
                    serde_json::to_string(&SampleRecord { owner: &owner, sample }).unwrap_or_default() + "\n"
                };
                output.write(line.into_bytes()).await;
            }
        }
    })
    .await
}

/// A sample as a line of a table, whose columns have fixed widths: it grows while people read it.
fn table_line(name: &str, sample: &Sample, with_header: bool) -> String {
    let line = |[name, cpu, memory, peak, read, written, processes]: [&str; 7]| {
        format!("{name:<24}  {cpu:>8}  {memory:>9}  {peak:>9}  {read:>9}  {written:>9}  {processes:>5}\n")
    };
    let header = line(["NAME", "CPU", "MEMORY", "PEAK", "READ", "WRITTEN", "PROCS"]);
    let cpu = sample.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.1} %"));
    let sizes = [sample.memory_bytes, sample.memory_peak_bytes, sample.read_bytes, sample.written_bytes];
    let [memory, peak, read, written] = sizes.map(format_bytes);
    let name = shorten(&one_line(name), 23);
    let row = line([&name, &cpu, &memory, &peak, &read, &written, &sample.processes.to_string()]);
    if with_header { header + &row } else { row }
}
