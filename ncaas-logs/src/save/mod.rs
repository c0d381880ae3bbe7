//! `ncaas-logs save`: the log, the status file, the certificate and the record of each job, kept up to date while it
//! runs and whole when it has ended.

mod certificate;
mod follow;
mod heard;
mod log_file;
mod places;
mod report;
mod status_file;

use std::path::PathBuf;
use std::time::Duration;

use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::SaveArgs;
use follow::Following;
use heard::Heard;
use report::{Now, Report, words_of_error, words_of_failure};

pub(crate) use heard::last_state;
pub(crate) use places::Places;

/// How often files are brought up to date where the command line does not say.
const INTERVAL: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(86_400);

pub(crate) async fn save(tool: Tool, args: SaveArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    allow_many_connections();
    let input = crate::subject::input(tool, &args.containers, "ncaas-exec run ... | ncaas-logs save")?;
    let saver = Saver {
        tool,
        engines: LazyEngine::default(),
        live: args.live.is_some(),
        interval: args.live.map_or(INTERVAL, |interval| interval.clamp(SHORTEST, LONGEST)),
        io_dir: args.io_dir,
    };
    let pipe = Pipe::new(tool, args.pipe.jobs_or(crate::subject::FOLLOWED)).takes_errors();
    pipe.filter(input, async |record: &mut Record, output: &Output| saver.save(record, output).await).await
}

/// Each job has three connections to the engine, and the usual limit is 1024 open files.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With fewer, fewer jobs can be followed at once, and those beyond say so.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap_or(());
}

struct Saver {
    tool: Tool,
    engines: LazyEngine,
    live: bool,
    interval: Duration,
    io_dir: PathBuf,
}

impl Saver {
    async fn save(&self, record: &mut Record, output: &Output) -> Result<()> {
        let earlier = record.error();
        let never_ran = record.container().is_none_or(|container| container.id.is_empty());
        if let Some(error) = &earlier
            && never_ran
        {
            fill_io_dir(record, &self.io_dir)?;
            // A record that says too little to know where its certificate would lie has none.
            return Places::of(record).map_or(Ok(()), |places| report_failure(record, places, &words_of_error(error)));
        }
        let words = |failure: &Failure| earlier.as_ref().map_or_else(|| words_of_failure(failure), words_of_error);
        let failure = match self.begin(record).await {
            Ok(None) => return Ok(()),
            Ok(Some(mut following)) => {
                let live = self.live.then_some(output);
                let Err(failure) = following.follow(record, self.interval, live).await else { return Ok(()) };
                following.write_failed(&with_failure(record, &failure), &words(&failure))?;
                failure
            }
            Err(failure) => {
                fill_io_dir(record, &self.io_dir)?;
                if let Ok(places) = Places::of(record) {
                    report_failure(&with_failure(record, &failure), places, &words(&failure))?;
                }
                failure
            }
        };
        // The first error of a record stands.
        if earlier.is_some() { Ok(()) } else { Err(failure) }
    }

    /// Begins to follow a job; none where that was done to its end before.
    async fn begin(&self, record: &mut Record) -> Result<Option<Following>> {
        let wanted = crate::subject::container(record)?;
        let saved_before =
            |record: &Record, id: &str| Places::of(record).ok()?.saved().filter(|saved| has_ended(saved, id));
        let look = async |engine: &Engine, _: &mut Record| Ok((engine.clone(), engine.inspect(&wanted).await?));
        let (engine, inspected) = match self.engines.with_retry(self.tool, record, look).await {
            Ok(seen) => seen,
            Err(failure) => match saved_before(record, &wanted) {
                Some(saved) => return adopt(record, &saved).map(|()| None),
                None => return Err(failure),
            },
        };
        crate::subject::complete(record, &inspected);
        fill_io_dir(record, &self.io_dir)?;
        let id = inspected.id.clone().unwrap_or_default();
        if let Some(saved) = saved_before(record, &id) {
            return adopt(record, &saved).map(|()| None);
        }
        let places = Places::of(record)?;
        Following::begin(&engine, &inspected, record, places).map(Some)
    }
}

/// Whether a saved record tells of the end of this very container.
fn has_ended(saved: &Record, id: &str) -> bool {
    let ended = |container: &Container| container.id == id && container.has_ended();
    !saved.has_error() && saved.logs().is_some() && saved.container().as_ref().is_some_and(ended)
}

/// Takes over what was saved when the job ended: the work is done, and not done again.
fn adopt(record: &mut Record, saved: &Record) -> Result<()> {
    let Known { container, logs, usage, warnings, .. } = saved.known()?;
    record.merge(&Known { container, logs, usage, ..Known::default() });
    for warning in warnings.unwrap_or_default() {
        record.warn(warning);
    }
    Ok(())
}

/// Writes what is to be said of a job for which a tool could not do its work.
fn report_failure(record: &Record, places: Places, words: &str) -> Result<()> {
    let heard = Heard::default();
    let report = Report::new(record, places, None);
    let container = record.container();
    let now = Now { container: container.as_ref(), failure: Some(words), ..Now::default() };
    report.write(&now, &heard)?;
    report.save(record)
}

fn with_failure(record: &Record, failure: &Failure) -> Record {
    let mut record = record.clone();
    if !record.has_error() {
        record.fail("ncaas-logs", failure);
    }
    record
}
