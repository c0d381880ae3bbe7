//! `ncaas-exec run`: run an image as a detached job.
//!
//! A record, from stdin or from arguments ([`job_arguments`]), becomes the specification of a container ([`resolve`]),
//! which is printed ([`dry_run`]) or started ([`start_job`], [`launch`]). A job that an earlier run has started is
//! adopted ([`previous_run`]).

mod admission;
mod command_line;
mod dry_run;
mod explanation;
mod follow;
mod input_checksum;
mod interruption;
mod job_arguments;
mod job_folders;
mod job_inputs;
mod launch;
mod platform;
mod preflight;
mod previous_run;
mod program;
mod replay;
mod resolve;
mod staged_inputs;
mod start_job;
mod start_order;
mod time_limit_guardian;
mod workflow;

use std::cell::Cell;
use std::io::IsTerminal;

use bollard::models::SystemInfo;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::pipe::{FollowedJobs, Input, Pipe, stdout_is_pipe};
use ncaas_core::record::Record;
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, JobCounts, Tool};
use tokio::sync::OnceCell;

use crate::args::RunArgs;
use crate::outcome::{note_unsaved, report_outcome};
use crate::run_settings::DefaultSettings;
use crate::targets;
use follow::copy_output;
use interruption::RecordCounts;
use job_arguments::{DefaultFields, command_line_records, no_image};
use job_folders::MadeFolders;
use job_inputs::JobInputs;
use launch::Launcher;
use previous_run::{are_results_lost, saved_end, stop_cancelled};
use start_order::StartOrder;

/// How many records of a group are in progress at once. [`admission`] decides how many jobs run at once.
const MIN_RECORDS: usize = 128;

/// The field with the number of jobs that have not been started.
const JOBS_WAITING: &str = "jobs_waiting";

/// How many records of other groups are in progress in addition, so that groups can take turns.
const ROOM_FOR_OTHERS: usize = 128;

pub(crate) async fn run(tool: Tool, mut args: RunArgs) -> Result<ExitStatus> {
    if args.target.is_none() && !args.data.is_empty() && std::io::stdin().is_terminal() {
        args.target = args.image.take();
    }
    // Without records, options that describe a job are most likely given without its image.
    let describes_job = !args.data.is_empty() || args.config.is_some() || args.name.is_some();
    let needs_records = args.target.is_none() && args.replay.is_none() && describes_job;
    if needs_records && std::io::stdin().is_terminal() {
        return Err(no_image(&args.data, ""));
    }
    let mut datasets = Vec::new();
    let mut reserved = MadeFolders::default();
    let input = match (&args.replay, &args.target) {
        (Some(file), _) => {
            let record = replay::record_to_replay(tool, file, args.config.is_some()).await?;
            Input::record(record)
        }
        (None, Some(image)) => {
            let records = command_line_records(&args, image, &mut reserved)?;
            let names = records.iter().filter_map(|record| record.dataname()?.first().map(str::to_owned));
            datasets.extend(names);
            Input::records(records)
        }
        (None, None) => Input::stdin(tool, "ncaas-exec run IMAGE --data FILE")?,
    };
    let pipe = Pipe {
        jobs: args.pipe.jobs_or(0).max(MIN_RECORDS),
        room_for_others: ROOM_FOR_OTHERS,
        takes_errors: true,
        skips_pushed: true,
        explains_interruption: true,
        ..Pipe::for_args(tool, &args.pipe, MIN_RECORDS)
    };
    let runner = Runner {
        tool,
        fields: DefaultFields::new(&args)?,
        launcher: Launcher::new(tool, &args),
        settings: DefaultSettings::for_jobs(args.settings, args.job_settings, args.timeout)?,
        placement: args.placement,
        dry_run: args.dry_run,
        explains_dry_run: shows_table(args.pipe.records.json),
        follow: args.follow,
        replays: args.replay.is_some(),
        connection: LazyEngine::default(),
        asked_info: OnceCell::new(),
        local_info: OnceCell::new(),
        order: StartOrder::default(),
        counts: RecordCounts::new(input.backlog(), datasets, args.name.is_some()),
        followed: FollowedJobs::default(),
    };
    // The stage that waits for the jobs shows how many wait and run.
    let (is_last, shows_counts) = (!stdout_is_pipe(), args.follow || !stdout_is_pipe() && !args.dry_run);
    let tells_next_stage = !shows_counts && !tool.is_quiet() && std::io::stderr().is_terminal();
    let pipe = pipe.filter(input, async |record: &mut Record, _| {
        let ran = runner.run_record(record).await;
        record.remove(JOBS_WAITING);
        if let waiting @ 1.. = runner.counts.waiting()
            && tells_next_stage
        {
            record.set(JOBS_WAITING, &waiting);
        }
        ran
    });
    let running = runner.connection.connect_during(pipe);
    let status = if shows_counts { tool.show_counts(|| runner.job_counts(), running).await } else { running.await };
    reserved.in_use = runner.counts.started.get() > 0;
    let status = status?;
    if args.follow {
        runner.followed.note_end(tool, false);
        note_unsaved(&runner.followed, tool);
    }
    if status.is_interrupted() {
        runner.launcher.remove_unstarted(&runner.connection).await;
        // A later stage that waits for the jobs says what becomes of them, if it has their records.
        if args.follow || runner.counts.waiting() > 0 || !runner.followed.is_followed_later() {
            runner.counts.note_interruption(tool, runner.launcher.admission.running());
        }
    } else if is_last {
        runner.counts.note_running(tool, runner.launcher.admission.running());
    }
    if needs_records && runner.counts.begun.get() == 0 && status == ExitStatus::SUCCESS {
        return Err(no_image(&args.data, ", and stdin contains no records"));
    }
    Ok(status)
}

/// One run of the verb.
struct Runner {
    tool: Tool,
    fields: DefaultFields,
    settings: DefaultSettings,
    launcher: Launcher,
    /// The scheduler's job that this run belongs to.
    placement: Option<String>,
    dry_run: bool,
    /// Whether a dry run is explained in words, because the record is a summary.
    explains_dry_run: bool,
    follow: bool,
    /// Whether the record is one of an earlier run that is repeated.
    replays: bool,
    connection: LazyEngine,
    asked_info: OnceCell<SystemInfo>,
    local_info: OnceCell<SystemInfo>,
    order: StartOrder,
    counts: RecordCounts,
    followed: FollowedJobs,
}

impl Runner {
    async fn run_record(&self, record: &mut Record) -> Result<()> {
        if let Some(error) = record.error() {
            return match error.kind {
                Kind::Cancelled => stop_cancelled(self.tool, &self.connection, record).await,
                _ => Ok(()),
            };
        }
        self.counts.begin(record);
        let started = self.start_record(record).await;
        self.counts.end_start(record, started.is_ok());
        // Found now: at an interruption the later stages may end before this one.
        self.followed.is_followed_later();
        started?;
        if self.follow {
            self.followed.follow(self.follow_job(record)).await?;
        }
        let has_ended = record.container().is_none_or(|container| container.has_ended());
        if has_ended && !self.dry_run && !stdout_is_pipe() {
            // No later stage reports how the job ended.
            report_outcome(&self.followed, self.tool, self.connection.get().await?, record).await;
        }
        Ok(())
    }

    /// The numbers of jobs at this moment.
    fn job_counts(&self) -> JobCounts {
        let waiting = self.counts.waiting();
        if self.follow {
            return JobCounts { waiting, ..self.followed.counts() };
        }
        let running = self.launcher.admission.running() as u64;
        let ended = self.counts.started.get().saturating_sub(running);
        JobCounts { waiting, running, ended, ..JobCounts::default() }
    }

    /// Starts the job of a record, or adopts the one that an earlier run has started.
    async fn start_record(&self, record: &mut Record) -> Result<()> {
        let ticket = Cell::new(Some(self.order.ticket(record.group())));
        self.fields.complete(record);
        let settings = self.settings.complete(record)?;
        record.require("image")?;
        if let Some(end) = saved_end(record)
            && !self.dry_run
        {
            let engine = self.connection.get().await;
            if let (Ok(engine), Some(saved)) = (&engine, end.container()) {
                targets::check_saved_container(engine, record, &saved).await?;
            }
            let is_lost = match engine {
                Ok(engine) => are_results_lost(engine, record, &end).await,
                Err(_) => false,
            };
            if !is_lost {
                record.copy_end(&end);
                return Ok(());
            }
        }
        let inputs = JobInputs::locate(record)?;
        let start = async |engine: &Engine, record: &mut Record| {
            self.start_job(engine, record, settings.clone(), &inputs, &ticket).await
        };
        self.connection.with_retry(self.tool, record, start).await
    }

    /// Prints the job's output, waits for its end and reports it.
    async fn follow_job(&self, record: &mut Record) -> Result<()> {
        let engine = self.connection.get().await?;
        if let Err(failure) = copy_output(self.tool, engine, record).await {
            // The wait continues through an outage of the engine.
            self.tool.report_failure(&failure);
        }
        let container = engine.wait(&record.container_id()?).await?;
        targets::update_record(engine, record, container).await?;
        report_outcome(&self.followed, self.tool, engine, record).await;
        Ok(())
    }
}
