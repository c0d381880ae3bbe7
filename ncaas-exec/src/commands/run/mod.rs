//! `ncaas-exec run`: run an image as a detached job.
//!
//! A record, from stdin or from arguments ([`job_arguments`]), becomes the specification of a container ([`resolve`]),
//! which is printed ([`dry_run`]) or started ([`launch`]). A job that an earlier run has started is adopted
//! ([`previous_run`]).

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
mod start_order;
mod time_limit_guardian;
mod workflow;

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::Path;

use bollard::models::SystemInfo;
use ncaas_core::engine::container::time_limit;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::lease;
use ncaas_core::pipe::{FollowedJobs, Input, Pipe, stdout_is_pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{RecordFields, RunSettings};
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, JobCounts, Tool};
use tokio::sync::OnceCell;

use crate::args::RunArgs;
use crate::container_spec::ContainerSpec;
use crate::container_user::ContainerUser;
use crate::image::{author_labels, complete_from_labels};
use crate::outcome::{note_unsaved, report_outcome};
use crate::run_settings::{DefaultSettings, set_default_limits};
use crate::targets;
use explanation::explain_start;
use follow::copy_output;
use interruption::RecordCounts;
use job_arguments::{DefaultFields, command_line_records, no_image};
use job_folders::MadeFolders;
use job_inputs::JobInputs;
use launch::Launcher;
use previous_run::{
    are_results_lost, find_started, may_have_container, saved_end, set_aside_earlier_attempt, stop_cancelled,
    use_io_dir_of_container,
};
use staged_inputs::stage_inputs;
use start_order::{StartOrder, StartTicket};

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

    /// Starts the job, or adopts the container that an earlier run has started.
    async fn start_job(
        &self,
        engine: &Engine,
        record: &mut Record,
        mut settings: RunSettings,
        inputs: &JobInputs,
        ticket: &Cell<Option<StartTicket<'_>>>,
    ) -> Result<()> {
        let info = self.engine_info(engine, &settings).await?;
        if !self.dry_run {
            set_aside_earlier_attempt(self.tool, engine, record).await?;
            if self.take_up(engine, info, record, &settings).await? {
                return Ok(());
            }
        }

        let image_field = if self.replays { "image_id" } else { "image" };
        let checked = preflight::check_inputs(record, inputs);
        let ((), image) = preflight::both(checked, engine.inspect_image(record.require(image_field)?).await)?;
        let labels = author_labels(&image)?;
        complete_from_labels(&mut settings, &labels);
        if let Some(command) = labels.command.filter(|_| settings.entrypoint.is_none()) {
            record.fill("command", &command);
        }
        platform::check_platform(&image, &settings, info)?;
        let config = inputs.read_config(record)?;
        for warning in &config.warnings {
            self.tool.warn(record, Some(warning));
        }
        settings.timeout_s = [settings.timeout_s, config.timeout_s].into_iter().flatten().min();
        let limited_by_config = (config.timeout_s.is_some() && config.timeout_s == settings.timeout_s).then_some(true);
        record.remove("limited_by_config");
        record.merge(&RecordFields { limited_by_config, ..RecordFields::default() });
        set_default_limits(record, &mut settings);
        record.merge(&RecordFields { image_id: image.id.clone(), ..RecordFields::default() });

        // Declared before the folders: they are removed before it is released.
        let mut lock = None;
        let mut folders = MadeFolders::default();
        if record.job().is_some() {
            // Another run may be starting the same job.
            folders.in_use = true;
        } else {
            resolve::assign_job(record, (!self.dry_run).then_some(&mut folders))?;
        }
        if self.dry_run {
            let mut spec = resolve::resolve_spec(record, &settings, inputs, &image)?;
            self.label_placement(&mut spec);
            let command = resolve::set_command(&mut spec, record, inputs, &image);
            if self.explains_dry_run {
                explain_start(self.tool, "would start", record, &spec);
            }
            return dry_run::describe(self.tool, engine, info, record, spec, command).await;
        }
        let launched = async {
            let folder = JobFolder::for_record(record)?;
            let name = record.container_name()?.unwrap_or_default();
            // Jobs wait without folders: they may end up with another machine.
            let slot = self.launcher.wait_for_slot(engine, info, &name, &settings, ticket.take()).await?;
            lease::wait_until_held(record).await?;
            // Another process that starts the same job would replace its staged inputs and its container.
            folders.in_use = true;
            lock = folders.make_locked(&folder).await?;
            if find_started(engine, record).await?.is_some() {
                return Ok(None);
            }
            folders.in_use = false;
            // A job from a bucket that was killed runs again from its beginning, and leaves no trace of the first run.
            if let Some(aside) = folder.set_aside_earlier_files(record.is_from_bucket())? {
                let message = format!(
                    "an earlier run of `{name}` left files that were not collected: they were moved to `{}`",
                    aside.display()
                );
                self.tool.warn(record, Some(&message));
            }
            let io_dir = Path::new(record.require("io_dir")?).to_owned();
            preflight::check_disk_space(&io_dir, config.disk_bytes)?;
            // A remote engine gets copies, which every user of the container may read.
            let user = ContainerUser::new(&settings, &image);
            let reader = if engine.is_remote() { ContainerUser::Root } else { user.clone() };
            let inputs = stage_inputs(inputs, &io_dir, &folder, reader).await?;
            let mut spec = resolve::resolve_spec(record, &settings, &inputs, &image)?;
            self.label_placement(&mut spec);
            resolve::set_command(&mut spec, record, &inputs, &image)?;
            self.launcher.launch(engine, slot, record, &inputs, spec, &user, &mut folders).await
        };
        let launched = launched.await;
        if launched.is_ok() {
            // Making the user the owner of the results locks the folder too.
            drop(lock.take());
        }
        match launched {
            // A short job may have ended already.
            Ok(Some(container)) => targets::update_record(engine, record, container).await,
            Ok(None) if self.take_up(engine, info, record, &settings).await? => Ok(()),
            Ok(None) => {
                let message = "the container that another run of the job started was removed";
                Err(Failure::new(Kind::ContainerNotFound, message).hint("run the job again"))
            }
            Err(failure) => {
                // The engine may have started the container although its answer was lost.
                folders.in_use = folders.in_use && may_have_container(engine, record).await;
                Err(failure)
            }
        }
    }

    fn label_placement(&self, spec: &mut ContainerSpec) {
        let label = self.placement.as_ref().map(|placement| (labels::PLACEMENT.to_owned(), placement.clone()));
        spec.labels.extend(label);
    }

    /// Takes up the job's container if an earlier run has started one. Returns false if there is none, or one that was
    /// never started.
    async fn take_up(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        record: &mut Record,
        settings: &RunSettings,
    ) -> Result<bool> {
        let Some((container, io_dir)) = find_started(engine, record).await? else { return Ok(false) };
        if let Some(io_dir) = io_dir {
            use_io_dir_of_container(self.tool, record, &container.name, &io_dir)?;
        }
        if !container.has_ended() {
            if time_limit(&engine.inspect(&container.id).await?).is_some() {
                // The one of the earlier run may have died with it.
                time_limit_guardian::start(self.tool, &container.id);
            }
            let slot = self.launcher.admission.slot_for_running(info, settings).await;
            self.launcher.admission.hold_until_end(slot, engine, &container.id);
        }
        targets::update_record(engine, record, container).await?;
        Ok(true)
    }

    /// Properties of the engine's machine. The engine is asked, once, only if it is remote or the job needs to know
    /// memory or GPUs: the answer takes 30 ms or more.
    async fn engine_info(&self, engine: &Engine, settings: &RunSettings) -> Result<&SystemInfo> {
        if engine.is_remote() || settings.memory.is_some() || settings.gpus.is_some() {
            let ask = async || engine.docker().info().await.engine_context("ask", Subject::Engine);
            return self.asked_info.get_or_try_init(ask).await;
        }
        let local = async || SystemInfo {
            architecture: Some(std::env::consts::ARCH.to_owned()),
            ncpu: std::thread::available_parallelism().ok().and_then(|cpus| i64::try_from(cpus.get()).ok()),
            ..SystemInfo::default()
        };
        Ok(self.local_info.get_or_init(local).await)
    }
}
