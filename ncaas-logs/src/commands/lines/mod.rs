//! `ncaas-logs lines`: prints the lines of a container's output, as records or as text.

mod last_lines;
mod text;
mod writer;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LinesArgs;
use crate::log::{LineReader, Log, LogTime, Query, Stream};
use crate::log_source::{LogSource, MAX_FOLLOWED, find_log_source};
use crate::saved_files::{SavedFiles, SavedLogPath};
pub(crate) use writer::LineRecord;
use writer::Writer;

pub(crate) async fn print_lines(tool: Tool, mut args: LinesArgs) -> Result<ExitStatus> {
    args.text |= shows_table(args.pipe.records.json) && !args.raw;
    let input = Input::arguments_or_stdin(tool, &args.containers, "ncaas-exec ls | ncaas-logs lines")?;
    let several = args.containers.len() != 1;
    // Logs that are not followed are printed one after the other.
    let pipe = Pipe::for_args(tool, &args.pipe, if args.follow { MAX_FOLLOWED } else { 1 });
    // The same command begins with the first line again, and the job does not need it.
    let pipe = Pipe { explains_interruption: true, ..pipe };
    let printer = Printer { tool, args: &args, several, engines: LazyEngine::default() };
    let status =
        pipe.for_each(input, async |record: &mut Record, output: &Output| printer.print(record, output).await).await?;
    if status.is_interrupted() && args.follow {
        tool.note("interrupted: the jobs continue; `--tail 0` with `--follow` shows new lines only");
    }
    Ok(status)
}

struct Printer<'a> {
    tool: Tool,
    args: &'a LinesArgs,
    several: bool,
    engines: LazyEngine,
}

impl Printer<'_> {
    async fn print(&self, record: &mut Record, output: &Output) -> Result<()> {
        match find_log_source(&self.engines, record).await? {
            LogSource::Container(engine, inspected) => self.print_container(record, &engine, &inspected, output).await,
            LogSource::Saved(saved) => self.print_saved(record, *saved, output).await,
        }
    }

    async fn print_container(
        &self,
        record: &Record,
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        output: &Output,
    ) -> Result<()> {
        let mut query = self.query();
        // Nothing is added to the log of a container that has ended.
        query.follow &= !container_from_inspect(inspected).has_ended();
        let mut writer = Writer::new(record, self.args, self.several);
        let log = match self.args.tail {
            None => Log::open(engine, inspected, query)?,
            Some(count) => {
                let (last, log) = last_lines::read(engine, inspected, &query, count).await?;
                last.iter().for_each(|line| writer.push(&line.as_line()));
                writer.send(output).await;
                if !query.follow {
                    return Ok(());
                }
                log.follow_on(query)
            }
        };
        writer.print(log, 0, output).await
    }

    /// Prints a log that was saved: its container is gone, or the engine is unreachable.
    async fn print_saved(&self, record: &mut Record, saved: SavedFiles, output: &Output) -> Result<()> {
        let SavedFiles { log: path, record: ended, .. } = saved;
        match ended {
            Some(ended) => *record = ended,
            None => self.tool.note(&format!(
                "`{}` may be incomplete: `ncaas-logs save` did not follow the job to its end",
                path.path().display()
            )),
        }
        let query = self.query();
        let left_out = match self.args.tail {
            None => 0,
            Some(count) => count_lines(&path, query.clone()).await?.saturating_sub(count),
        };
        Writer::new(record, self.args, self.several).print(path.open(query)?, left_out, output).await
    }

    fn query(&self) -> Query {
        let LinesArgs { follow, since, until, details, stdout, stderr, .. } = *self.args;
        let (since, until) = (since.map(LogTime::at), until.map(LogTime::at));
        let only = match (stdout, stderr) {
            (true, _) => Some(Stream::Stdout),
            (_, true) => Some(Stream::Stderr),
            _ => None,
        };
        Query { follow, since, until, only, tail: None, details, caller_reports_end: false }
    }
}

/// The number of wanted lines of a saved log.
async fn count_lines(path: &SavedLogPath, query: Query) -> Result<usize> {
    let mut log = LineReader::new(path.open(query)?);
    let mut lines = 0;
    while log.read(|line| lines += usize::from(line.begins)).await? {}
    Ok(lines)
}
