//! `ncaas-logs lines`: every line that a container printed, as a record or as text.

mod tail;
mod text;
mod write;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LinesArgs;
use crate::log::{Log, Query, Rejoin, Stream};
use crate::subject;
use write::{LineRecord, Writer};

pub(crate) async fn lines(tool: Tool, args: LinesArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<LineRecord>().await;
    }
    let input = subject::input(tool, &args.containers, "ncaas-exec ls | ncaas-logs lines")?;
    let engines = LazyEngine::default();
    let several = args.containers.len() != 1;
    // Those that are not followed come one after the other.
    let pipe = Pipe::new(tool, args.pipe.jobs_or(if args.follow { subject::FOLLOWED } else { 1 }));
    let list = async |record: &mut Record, output: &Output| list(record, &args, several, &engines, output).await;
    pipe.each(input, list).await
}

async fn list(
    record: &mut Record,
    args: &LinesArgs,
    several: bool,
    engines: &LazyEngine,
    output: &Output,
) -> Result<()> {
    let wanted = subject::container(record)?;
    let engine = engines.get().await?;
    let inspected = engine.inspect(&wanted).await?;
    subject::complete(record, &inspected);
    let only = match (args.stdout, args.stderr) {
        (true, _) => Some(Stream::Stdout),
        (_, true) => Some(Stream::Stderr),
        _ => None,
    };
    let query = Query { follow: args.follow, since: args.since, until: args.until, only, tail: None };
    let mut writer = Writer::new(record, args, several);
    let mut log = match args.tail {
        None => Log::open(engine, &inspected, query)?,
        Some(count) => {
            let (last, log) = tail::read(engine, &inspected, &query, count).await?;
            last.iter().for_each(|line| writer.push(&line.as_line()));
            output.write(writer.take()).await;
            if !args.follow {
                return Ok(());
            }
            log.follow_on(query)
        }
    };
    let mut rejoin = Rejoin::default();
    loop {
        let more = log.read(|entry| rejoin.push(entry, |line| writer.push(line))).await?;
        if !more {
            rejoin.finish(|line| writer.push(line));
        }
        let text = writer.take();
        if !text.is_empty() {
            output.write(text).await;
        }
        if !more {
            return Ok(());
        }
    }
}
