//! `ncaas-exec rm`: remove containers that have ended.

mod kept_containers;
mod leftover_containers;
mod unsaved;

use std::cell::Cell;
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine, labels};
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::lease;
use ncaas_core::outcome::is_reported;
use ncaas_core::pipe::{Input, Output, Pipe, RunningJobs};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Status};
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RmArgs;
use crate::{container_start, targets};
use kept_containers::KeptContainers;
use leftover_containers::{LeftoverContainers, has_ended_elsewhere};
use unsaved::{Unsaved, is_saved};

const DEFAULT_JOBS: usize = 8;

pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    let connection = LazyEngine::default();
    let filter = JobFilter::new(&args);
    let input = match (&args.placement, &filter) {
        (Some(placement), _) => targets::placement_input(connection.get().await?, placement).await?,
        (None, Some(filter)) => {
            let jobs = filter.find_jobs(connection.get().await?).await?;
            if jobs.is_empty() {
                tool.note("no container is selected");
            }
            Input::records(jobs)
        }
        (None, None) => {
            Input::arguments_or_stdin(tool, &args.targets.containers, "ncaas-exec ls --all | ncaas-exec rm")?
        }
    };
    let is_filter = args.targets.containers.is_empty() && args.placement.is_none() && filter.is_none();
    let remover = Remover {
        tool,
        connection,
        is_filter,
        is_named: !args.targets.containers.is_empty(),
        is_explained: shows_table(args.pipe.records.json),
        force: args.force,
        dry_run: args.dry_run,
        jobs: RunningJobs::default(),
        kept: KeptContainers::default(),
        unpushed: Cell::default(),
        leftovers: LeftoverContainers::default(),
    };
    let consequence = match &args.placement {
        Some(placement) => format!("not removed; `ncaas-exec stop --placement {placement}` stops them"),
        None => "not removed; put `ncaas-logs save | ncaas-sync collect` before `ncaas-exec rm`".to_owned(),
    };
    let report = |output: &Output| {
        remover.kept.report(tool, output);
        remover.report_unpushed();
        remover.jobs.report(tool, output, &consequence);
    };
    let work = async |record: &mut Record, output: &Output| remover.process(record, output).await;
    let pipe = Pipe { takes_errors: true, notes_only: true, ..Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS) };
    remover.connection.connect_during(pipe.filter_then(input, work, report)).await
}

/// One run of the verb.
struct Remover {
    tool: Tool,
    connection: LazyEngine,
    /// Whether the containers come from a pipe.
    is_filter: bool,
    /// Whether the user named the containers.
    is_named: bool,
    /// Whether a note is printed for each container that was removed.
    is_explained: bool,
    force: bool,
    dry_run: bool,
    jobs: RunningJobs,
    kept: KeptContainers,
    /// How many jobs of a bucket had results that no stage has pushed.
    unpushed: Cell<usize>,
    leftovers: LeftoverContainers,
}

impl Remover {
    async fn process(&self, record: &mut Record, output: &Output) -> Result<()> {
        if let Some(error) = record.error() {
            self.jobs.note_ended(record);
            if error.kind == Kind::Superseded && !self.dry_run {
                remove_superseded(self.connection.get().await?, record).await?;
            } else if self.is_filter && !error.kind.is_transient() {
                self.note_kept_with_error(record).await;
            }
            return Ok(());
        }
        // `ncaas-exec ls` lists development containers with the jobs. They are removed by name.
        if record.is_development() {
            let name = record.container().unwrap_or_default().name;
            if self.is_explained && self.is_filter {
                self.tool.note(&format!("kept `{name}`, a development container: `ncaas-exec rm {name}` removes it"));
            }
            return Ok(());
        }
        // The record counts here, not the container's state: the results of a job that ended after its record was
        // written are still in the container. The record comes again when they have been collected.
        let known = record.container().unwrap_or_default();
        if !known.has_ended() && !known.state.is_empty() && !self.is_named && !self.force {
            if record.job().is_some() && container_exists(&self.connection, record).await {
                self.jobs.note_running(record);
            }
            return Ok(());
        }
        self.jobs.note_ended(record);
        let remove = async |engine: &Engine, record: &mut Record| self.remove(engine, record, output).await;
        self.connection.with_retry(self.tool, record, remove).await?;
        if record.is_pushed() && !self.dry_run {
            remove_leftovers(self.connection.get().await?, &self.leftovers, record).await?;
        }
        Ok(())
    }

    /// Removes the container of a record. One that does not exist is an error only if the user named it.
    async fn remove(&self, engine: &Engine, record: &mut Record, output: &Output) -> Result<()> {
        let known = record.container();
        let removed = self.remove_existing(engine, record, output).await;
        // Another `rm` may be removing it.
        let is_removing = record.container().is_some_and(|container| container.state == "removing");
        let is_gone = is_removing || removed.is_err() && is_removed(engine, record).await;
        if self.is_named || !is_gone {
            return removed;
        }
        if let Some(known) = known {
            record.set("container", &known);
        }
        if !is_removing && !self.dry_run {
            // An `rm` that was interrupted may have removed the container only.
            if let Ok(folder) = JobFolder::for_record(record) {
                let _lock = folder.lock_work().await;
                engine.remove_unused_work(&folder, record, false).await;
            }
        }
        Ok(())
    }

    async fn remove_existing(&self, engine: &Engine, record: &mut Record, output: &Output) -> Result<()> {
        let container = container_from_inspect(&engine.inspect_labelled_target(record).await?);
        if ["running", "paused", "restarting"].contains(&container.state.as_str()) && !self.force {
            if self.is_named {
                return Err(still_running(&container));
            }
            self.jobs.note_running(record);
            return Ok(());
        }
        self.jobs.note_done();
        let is_checked = container.has_ended() && (self.dry_run || !self.force);
        let unsaved = if is_checked { Unsaved::find(engine, record, &container).await? } else { None };
        if let Some(unsaved) = unsaved.filter(|_| !self.force) {
            let failure = unsaved.failure(&container.name);
            record.fail(self.tool.name(), &failure);
            if self.is_filter {
                self.kept.report_at_once(self.tool, output, unsaved, failure);
            } else {
                self.kept.add(container.name, unsaved);
            }
            return Ok(());
        }
        let name = &container.name;
        let is_stopped = !container.has_ended() && !container.was_never_started();
        let stop = if is_stopped { "stop and " } else { "" };
        if self.dry_run {
            let discarded = unsaved.map(|unsaved| format!(", and discard its {}", unsaved.describe()));
            self.tool.note(&format!("would {stop}remove `{name}`{}", discarded.unwrap_or_default()));
            return Ok(());
        }
        remove_target(engine, record, &container, self.force).await?;
        let is_submitted = record.is_from_bucket() && record.text("replay_of").is_none();
        if self.is_filter && is_submitted && !record.is_pushed() && record.results().is_some() {
            self.unpushed.set(self.unpushed.get() + 1);
        }
        // A job whose end was reported in the same pipe has its line.
        if self.is_explained && !is_reported(record) {
            let discarded = if is_stopped && record.job().is_some() { "; its log and files are discarded" } else { "" };
            self.tool.note(&format!("{}removed `{name}`{discarded}", if is_stopped { "stopped and " } else { "" }));
        }
        Ok(())
    }

    /// Notes that the container of a job with an error is kept, if it exists: nothing else comes back to it.
    async fn note_kept_with_error(&self, record: &Record) {
        if let Some(container) = record.container().filter(Container::has_ended)
            && container_exists(&self.connection, record).await
        {
            self.kept.add_with_error(container.name);
        }
    }

    /// Reports jobs whose submitter will not see their end: a pipe without `push`.
    fn report_unpushed(&self) {
        let jobs = self.unpushed.get();
        if jobs > 0 {
            self.tool.note(&format!(
                "the results of {} from a bucket were not pushed: put `ncaas-sync push` before `ncaas-exec rm`, and run the \
                 pipe again; no job is started twice",
                format_count(jobs, "job")
            ));
        }
    }
}

/// Whether the container of a running job still exists. An engine that does not answer has not lost it.
async fn container_exists(connection: &LazyEngine, record: &Record) -> bool {
    let (Ok(engine), Ok(id)) = (connection.get().await, record.container_id()) else { return true };
    !matches!(engine.inspect(&id).await.none_if(&[Kind::ContainerNotFound]), Ok(None))
}

/// Stops and removes the container of a superseded job, if another machine has the job. Otherwise the container may be
/// in use under the new claim.
async fn remove_superseded(engine: &Engine, record: &Record) -> Result<()> {
    let Some(job) = record.job().filter(|_| record.container().is_some()) else { return Ok(()) };
    if !lease::is_lost_to_another_machine(&job).await {
        return Ok(());
    }
    let inspected = engine.inspect_labelled_target(&mut record.clone()).await;
    match inspected.none_if(&[Kind::ContainerNotFound])? {
        Some(inspected) => remove_target(engine, record, &container_from_inspect(&inspected), true).await,
        None => Ok(()),
    }
}

/// Removes the containers that earlier stages of this pipe have left, if their logs and results were saved.
async fn remove_leftovers(engine: &Engine, leftovers: &LeftoverContainers, record: &Record) -> Result<()> {
    let mut all_removed = Ok(());
    for mut left in leftovers.find(engine, record).await? {
        let is_superseded = JobFolder::for_record(&left).is_ok_and(|folder| has_ended_elsewhere(engine, &folder));
        if !left.container().unwrap_or_default().was_never_started() && !is_superseded && !is_saved(&left) {
            continue;
        }
        let remove = async {
            let container = container_from_inspect(&engine.inspect_labelled_target(&mut left).await?);
            if container.has_ended() || container.was_never_started() {
                remove_target(engine, &left, &container, is_superseded).await
            } else {
                Ok(())
            }
        };
        let removed = remove.await;
        // The work on its own record may have removed it.
        if removed.is_err() && !is_removed(engine, &left).await {
            all_removed = all_removed.and(removed);
        }
    }
    all_removed
}

/// Whether the container of a record does not exist, or is being removed by another client.
async fn is_removed(engine: &Engine, record: &Record) -> bool {
    let Ok(id) = record.container_id() else { return false };
    match engine.inspect(&id).await {
        Ok(inspected) => container_from_inspect(&inspected).state == "removing",
        Err(failure) => failure.kind == Kind::ContainerNotFound,
    }
}

/// Removes a container, after the user has become the owner of its files. A running one is killed first. `force`
/// discards files that are left in its work folder.
async fn remove_target(engine: &Engine, record: &Record, container: &Container, force: bool) -> Result<()> {
    let id = &container.id;
    let was_started = !container.was_never_started();
    if was_started && !container.has_ended() {
        // A running job would write more files, which belong to its user.
        engine.stop(id, 0).await?;
    }
    if was_started {
        targets::take_ownership(engine, record, id).await?;
    }
    let folder = JobFolder::for_record(record).ok();
    let _lock = match &folder {
        Some(folder) => folder.lock_work().await,
        None => None,
    };
    container_start::remove_container(engine, id, force).await?;
    if let Some(folder) = folder {
        engine.remove_unused_work(&folder, record, force).await;
    }
    Ok(())
}

fn still_running(container: &Container) -> Failure {
    Failure::new(Kind::Usage, format!("cannot remove `{}`: it is {}", container.name, container.state))
        .hint(format!("stop it first with `ncaas-exec stop {0}`, or use `ncaas-exec rm --force {0}`", container.name))
}

/// Selects ended jobs by owner, age and status.
struct JobFilter {
    all_users: bool,
    older_than: Option<Duration>,
    status: Vec<Status>,
}

impl JobFilter {
    fn new(args: &RmArgs) -> Option<Self> {
        let filter = JobFilter { all_users: args.all_users, older_than: args.older_than, status: args.status.clone() };
        (filter.older_than.is_some() || !filter.status.is_empty()).then_some(filter)
    }

    async fn find_jobs(&self, engine: &Engine) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for found in engine.list_labelled(&[labels::JOB]).await? {
            let mut record = Record::for_argument(&found.id);
            let inspected = engine.inspect_target(&mut record).await.none_if(&[Kind::ContainerNotFound])?;
            if inspected.is_some_and(|inspected| self.matches(&record, &container_from_inspect(&inspected))) {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn matches(&self, record: &Record, container: &Container) -> bool {
        if !self.all_users && !targets::belongs_to_user(record) {
            return false;
        }
        let Some(status) = container.status else { return false };
        let is_older = |age: Duration| {
            let finished: Option<Timestamp> = container.finished_at.as_ref().and_then(|at| at.parse().ok());
            finished.is_some_and(|at| Timestamp::now().duration_since(at).unsigned_abs() >= age)
        };
        (self.status.is_empty() || self.status.contains(&status)) && self.older_than.is_none_or(is_older)
    }
}
