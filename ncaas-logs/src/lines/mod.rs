//! `ncaas-logs lines`: every line that a container printed, as a record or as text.

mod tail;
mod text;
mod write;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LinesArgs;
use crate::log::{Line, Log, Query, Rejoin, Stream};
use crate::saved::{LogPlace, Saved};
use crate::subject;
use write::{LineRecord, Writer};

pub(crate) async fn lines(tool: Tool, args: LinesArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<LineRecord>().await;
    }
    let input = subject::input(tool, &args.containers, "ncaas-exec ls | ncaas-logs lines")?;
    let several = args.containers.len() != 1;
    // Those that are not followed come one after the other.
    let pipe = Pipe::new(tool, args.pipe.jobs_or(if args.follow { subject::FOLLOWED } else { 1 }));
    let lister = Lister { tool, args: &args, several, engines: LazyEngine::default() };
    pipe.each(input, async |record: &mut Record, output: &Output| lister.list(record, output).await).await
}

struct Lister<'a> {
    tool: Tool,
    args: &'a LinesArgs,
    several: bool,
    engines: LazyEngine,
}

impl Lister<'_> {
    async fn list(&self, record: &mut Record, output: &Output) -> Result<()> {
        if let Some(saved) = subject::named_file(record, &self.args.containers)? {
            return self.list_saved(record, saved, output).await;
        }
        let wanted = subject::container(record)?;
        let look = async {
            let engine = self.engines.get().await?;
            Ok((engine, engine.inspect(&wanted).await?))
        };
        match look.await {
            Ok((engine, inspected)) => {
                subject::complete(record, &inspected);
                self.list_container(record, engine, &inspected, output).await
            }
            Err(failure) => match Saved::of(record).filter(|saved| saved.log.path().exists()) {
                Some(saved) => self.list_saved(record, saved, output).await,
                None => Err(failure),
            },
        }
    }

    async fn list_container(
        &self,
        record: &Record,
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        output: &Output,
    ) -> Result<()> {
        let mut query = self.query();
        // Nothing more comes, and so nothing has to be looked for a second time.
        query.follow &= !container_from_inspect(inspected).has_ended();
        let mut writer = Writer::new(record, self.args, self.several);
        let mut log = match self.args.tail {
            None => Log::open(engine, inspected, query)?,
            Some(count) => {
                let (last, log) = tail::read(engine, inspected, &query, count).await?;
                last.iter().for_each(|line| writer.push(&line.as_line()));
                writer.send(output).await;
                if !query.follow {
                    return Ok(());
                }
                log.follow_on(query)
            }
        };
        let mut rejoin = Rejoin::default();
        let mut more = true;
        while more {
            more = log.read(|entry| rejoin.push(entry, |line| writer.push(line))).await?;
            if !more {
                rejoin.finish(|line| writer.push(line));
            }
            writer.send(output).await;
        }
        Ok(())
    }

    /// The lines of a log that was saved: of a container that has gone, or an engine that is away.
    async fn list_saved(&self, record: &mut Record, saved: Saved, output: &Output) -> Result<()> {
        let Saved { log: place, record: ended } = saved;
        match ended {
            Some(ended) => *record = ended,
            None => self.tool.note(&format!(
                "`{}` may be no more than a part: its job was not followed to its end",
                place.path().display()
            )),
        }
        let query = self.query();
        let left_out = match self.args.tail {
            None => 0,
            Some(count) => lines_in(&place, query.clone()).await?.saturating_sub(count),
        };
        let mut log = place.open(query)?;
        let mut writer = Writer::new(record, self.args, self.several);
        let mut rejoin = Rejoin::default();
        let (mut seen, mut more) = (0, true);
        while more {
            let mut give = |line: &Line<'_>| {
                seen += usize::from(line.begins);
                if seen > left_out {
                    writer.push(line);
                }
            };
            more = log.read(|entry| rejoin.push(entry, &mut give)).await?;
            if !more {
                rejoin.finish(&mut give);
            }
            writer.send(output).await;
        }
        Ok(())
    }

    fn query(&self) -> Query {
        let LinesArgs { follow, since, until, details, stdout, stderr, .. } = *self.args;
        let only = match (stdout, stderr) {
            (true, _) => Some(Stream::Stdout),
            (_, true) => Some(Stream::Stderr),
            _ => None,
        };
        Query { follow, since, until, only, tail: None, details }
    }
}

/// How many lines of a saved log are wanted.
async fn lines_in(place: &LogPlace, query: Query) -> Result<usize> {
    let mut log = place.open(query)?;
    let mut rejoin = Rejoin::default();
    let mut lines = 0;
    let mut count = |line: &Line<'_>| lines += usize::from(line.begins);
    while log.read(|entry| rejoin.push(entry, &mut count)).await? {}
    rejoin.finish(&mut count);
    Ok(lines)
}
