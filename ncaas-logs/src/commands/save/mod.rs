//! `ncaas-logs save`: keeps the log, status file and certificate of each job up to date while it runs, and saves its
//! record when it ends.

mod certificates;
mod follower;
mod log_file;
mod output_excerpt;
mod status_writer;
mod submission;

use std::path::PathBuf;
use std::time::Duration;

use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::lease;
use ncaas_core::outcome::outcome_line;
use ncaas_core::pipe::{COMPLETE_JOBS, FollowedJobs, Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, ErrorInfo, RecordFields};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::SaveArgs;
use crate::job_files::JobFiles;
use crate::log_source;
use crate::saved_files::SavedFiles;
use certificates::Certificates;
use follower::Follower;
use output_excerpt::OutputExcerpt;
use status_writer::{JobProgress, StatusWriter};

/// How often files are updated by default.
const INTERVAL: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(86_400);

pub(crate) async fn save_jobs(tool: Tool, args: SaveArgs) -> Result<ExitStatus> {
    allow_many_connections();
    let input = Input::arguments_or_stdin(tool, &args.targets.containers, "ncaas-exec run ... | ncaas-logs save")?;
    let saver = Saver {
        tool,
        engines: LazyEngine::default(),
        live: args.live.is_some(),
        interval: args.live.map_or(INTERVAL, |interval| interval.clamp(SHORTEST, LONGEST)),
        io_dir: args.io_dir,
        certificates: Certificates::default(),
        jobs: FollowedJobs::default(),
    };
    let pipe = Pipe {
        takes_errors: true,
        explains_interruption: true,
        ..Pipe::for_args(tool, &args.pipe, log_source::MAX_FOLLOWED)
    };
    let saving = pipe.filter(input, async |record: &mut Record, output: &Output| {
        saver.save(record, output).await.map_err(|failure| with_disk_full_hint(failure, record))
    });
    let saved = tool.show_counts(|| saver.jobs.counts(), saving).await;
    saver.jobs.note_end(tool, saved.as_ref().is_ok_and(|status| status.is_interrupted()));
    saved
}

/// A full disk does not end the job of a record. The pipe of a bucket tries again by itself.
fn with_disk_full_hint(failure: Failure, record: &Record) -> Failure {
    if failure.kind != Kind::DiskFull || record.is_from_bucket() || record.container().is_none() {
        return failure;
    }
    failure
        .hint(format!("free disk space; the job's container is kept, and `{COMPLETE_JOBS}` saves what the job wrote"))
}

/// Each job has three connections to the engine, and the usual limit is 1024 open files.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it cannot be raised, fewer jobs can be followed at once, and the others report that.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap_or(());
}

struct Saver {
    tool: Tool,
    engines: LazyEngine,
    live: bool,
    interval: Duration,
    io_dir: PathBuf,
    certificates: Certificates,
    jobs: FollowedJobs,
}

impl Saver {
    async fn save(&self, record: &mut Record, output: &Output) -> Result<()> {
        // `ncaas-exec ls` lists development containers with the jobs.
        if record.is_development() {
            return Ok(());
        }
        self.jobs.note_record(record);
        let earlier = record.error();
        if record.is_placed() || record.is_pushed() {
            // Another machine runs it and saves its files, or has saved them.
            return Ok(());
        }
        if earlier.as_ref().is_some_and(|error| error.kind == Kind::Superseded) {
            return Ok(());
        }
        lease::check(record)?;
        let never_ran = record.container().is_none_or(|container| container.id.is_empty());
        if let Some(error) = &earlier
            && never_ran
        {
            fill_io_dir(record, &self.io_dir)?;
            // The certificate's path is unknown if the record has too few fields.
            return match JobFiles::for_record(record) {
                Ok(files) => self.report_failure(record, files, &error.with_hint()).await,
                Err(_) => Ok(()),
            };
        }
        let describe = |failure: &Failure| {
            earlier.as_ref().map_or_else(|| ErrorInfo::new("ncaas-logs", failure).with_hint(), ErrorInfo::with_hint)
        };
        let failure = match self.start(record).await {
            Ok(None) => {
                let saved = SavedFiles::for_record(record);
                let outcome = outcome_line(record, saved.as_ref().map(|saved| saved.log.path()));
                self.report_outcome(record, outcome);
                return Ok(());
            }
            Ok(Some(mut follower)) => {
                let following = follower.follow(record, self.interval, output, self.live);
                let Err(failure) = self.jobs.follow(following).await else {
                    if let Some(warning) = follower.losses() {
                        self.tool.note(&format!("`{}`: {warning}", follower.container_name()));
                    }
                    let outcome = follower.outcome(record);
                    self.report_outcome(record, outcome);
                    return Ok(());
                };
                if failure.kind == Kind::Superseded {
                    return Err(failure);
                }
                follower.write_failed(&with_failure(record, &failure), &describe(&failure)).await?;
                failure
            }
            Err(failure) if failure.kind == Kind::Superseded => return Err(failure),
            Err(failure) => {
                fill_io_dir(record, &self.io_dir)?;
                if let Ok(files) = JobFiles::for_record(record) {
                    self.report_failure(&with_failure(record, &failure), files, &describe(&failure)).await?;
                }
                failure
            }
        };
        // The first error of a record stands.
        if earlier.is_some() { Ok(()) } else { Err(failure) }
    }

    /// Starts to follow a job; none if it was followed to its end before.
    async fn start(&self, record: &mut Record) -> Result<Option<Follower>> {
        let wanted = record.container_id()?;
        let is_named = record.has_only_container();
        let saved_before = |record: &Record, id: &str| {
            JobFiles::for_record(record).ok()?.saved_record().filter(|saved| has_ended(saved, id))
        };
        let inspect =
            async |engine: &Engine, record: &mut Record| Ok((engine.clone(), engine.inspect_target(record).await?));
        let (engine, inspected) = match self.engines.with_retry(self.tool, record, inspect).await {
            Ok(inspected) => inspected,
            Err(failure) if failure.kind == Kind::WrongContainer => return Err(failure),
            Err(failure) => match saved_before(record, &wanted) {
                Some(saved) => return copy_saved(record, &saved).map(|()| None),
                None => return Err(failure),
            },
        };
        fill_io_dir(record, &self.io_dir)?;
        let id = inspected.id.clone().unwrap_or_default();
        if let Some(saved) = saved_before(record, &id) {
            return copy_saved(record, &saved).map(|()| None);
        }
        let container = container_from_inspect(&inspected);
        if container.was_never_started() && !is_named {
            // Its run was killed before the start, or is about to start it.
            let name = &container.name;
            self.tool.note(&format!("`{name}` was not started: `ncaas-exec rm {name}` removes it"));
            return Ok(None);
        }
        let files = JobFiles::for_record(record)?;
        if let Some(saved) = files.saved_record() {
            record.fill_end(&saved);
        }
        Follower::start(&engine, &inspected, record, files, &self.certificates).map(Some)
    }

    /// Reports how a job ended, unless an earlier stage of the pipe has.
    fn report_outcome(&self, record: &mut Record, outcome: Option<String>) {
        if let Some(outcome) = outcome {
            self.jobs.report(self.tool, record, &outcome);
        }
    }

    /// Writes the files of a job for which a tool failed.
    async fn report_failure(&self, record: &Record, files: JobFiles, reason: &str) -> Result<()> {
        let writer = StatusWriter::new(record, files, None, &self.certificates);
        let container = record.container();
        let progress = JobProgress { container: container.as_ref(), failure: Some(reason), ..JobProgress::default() };
        writer.write(&progress, &OutputExcerpt::default()).await?;
        writer.save(record)
    }
}

/// Whether a saved record describes the end of this container.
fn has_ended(saved: &Record, id: &str) -> bool {
    let ended = |container: &Container| container.id == id && container.has_ended();
    !saved.has_error() && saved.logs().is_some() && saved.container().as_ref().is_some_and(ended)
}

/// Copies the results of an earlier run that followed the job to its end.
fn copy_saved(record: &mut Record, saved: &Record) -> Result<()> {
    let RecordFields { container, logs, cause, usage, warnings, .. } = saved.fields()?;
    record.merge(&RecordFields { container, logs, cause, usage, ..RecordFields::default() });
    for warning in warnings.unwrap_or_default() {
        record.warn(warning);
    }
    Ok(())
}

fn with_failure(record: &Record, failure: &Failure) -> Record {
    let mut record = record.clone();
    if !record.has_error() {
        record.fail("ncaas-logs", failure);
    }
    record
}
