//! `ncaas-exec rm`: remove containers that have ended.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine, labels};
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::lease;
use ncaas_core::pipe::{Input, Output, Pipe, RunningJobs};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Status};
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};
use walkdir::WalkDir;

use crate::args::RmArgs;
use crate::leftover_containers::{LeftoverContainers, remove_left_work};
use crate::{lifecycle, targets};

const DEFAULT_JOBS: usize = 8;

pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    let connection = LazyEngine::default();
    let named = !args.containers.is_empty();
    let leftovers = LeftoverContainers::default();
    let filter = JobFilter::new(&args);
    let input = match (&args.placement, &filter) {
        (Some(placement), _) => targets::placement_input(connection.get().await?, placement).await?,
        (None, Some(filter)) => Input::records(filter.find_jobs(connection.get().await?).await?),
        (None, None) => targets::target_input(tool, &args.containers, "ncaas-exec ls --all | ncaas-exec rm")?,
    };
    let jobs = RunningJobs::default();
    let is_filter = !named && args.placement.is_none() && filter.is_none();
    // In a pipe, the record of a job says more than that its container is gone.
    let is_explained = !is_filter && shows_table(args.pipe.json);
    let remove_existing = async |engine: &Engine, record: &mut Record| {
        let container = targets::inspect_labelled_target(engine, record).await?;
        match container.state.as_str() {
            "running" | "paused" | "restarting" if !args.force && named => Err(still_running(&container)),
            "running" | "paused" | "restarting" if !args.force => {
                jobs.note_running(record);
                Ok(())
            }
            _ if args.dry_run => {
                jobs.note_done();
                if container.has_ended() && !args.force {
                    check_collected(engine, record, &container).await?;
                }
                tool.note(&format!("would remove `{}`", container.name));
                Ok(())
            }
            _ => {
                jobs.note_done();
                remove_target(engine, record, &container, args.force).await?;
                if is_explained {
                    tool.note(&format!("removed `{}`", container.name));
                }
                Ok(())
            }
        }
    };
    let remove = async |engine: &Engine, record: &mut Record| {
        let known = record.container();
        let removed = remove_existing(engine, record).await;
        // A container that does not exist is an error only if the user named it. Another `rm` may be removing it.
        let is_removing = record.container().is_some_and(|container| container.state == "removing");
        let is_gone = is_removing || removed.is_err() && is_removed(engine, record).await;
        if named || !is_gone {
            return removed;
        }
        if let Some(known) = known {
            record.set("container", &known);
        }
        if !is_removing && !args.dry_run {
            remove_left_work(engine, record).await;
        }
        Ok(())
    };
    let work = async |record: &mut Record, _: &_| {
        if let Some(error) = record.error() {
            jobs.note_ended(record);
            if error.kind == Kind::Superseded && !args.dry_run {
                remove_superseded(connection.get().await?, record).await?;
            }
            return Ok(());
        }
        // The record counts here, not the container's state: the results of a job that ended after its record was written
        // are still in the container. The record comes again when they have been collected.
        let known = record.container().unwrap_or_default();
        if !known.has_ended() && !known.state.is_empty() && !named && !args.force {
            if record.job().is_some() && container_exists(&connection, record).await {
                jobs.note_running(record);
            }
            return Ok(());
        }
        jobs.note_ended(record);
        connection.with_retry(tool, record, remove).await?;
        if record.is_pushed() && !args.dry_run {
            remove_leftovers(connection.get().await?, &leftovers, record).await?;
        }
        Ok(())
    };
    let consequence = match &args.placement {
        Some(placement) => format!("not removed; `ncaas-exec stop --placement {placement}` stops them"),
        None => "not removed; put `ncaas-exec wait` before `ncaas-exec rm`".to_owned(),
    };
    let report = |output: &Output| jobs.report(tool, output, &consequence);
    let pipe = Pipe { takes_errors: true, notes_only: !is_filter, ..Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS) };
    connection.connect_during(pipe.filter_then(input, work, report)).await
}

/// Whether the container of a running job still exists. An engine that does not answer has not lost it.
async fn container_exists(connection: &LazyEngine, record: &Record) -> bool {
    let (Ok(engine), Ok(id)) = (connection.get().await, targets::container_id(record)) else { return true };
    !matches!(engine.inspect(&id).await.none_if(&[Kind::ContainerNotFound]), Ok(None))
}

/// Stops and removes the container of a superseded job, if another machine has the job. Otherwise the container may be in use
/// under the new claim.
async fn remove_superseded(engine: &Engine, record: &Record) -> Result<()> {
    let Some(job) = record.job().filter(|_| record.container().is_some()) else { return Ok(()) };
    if !lease::is_lost_to_another_machine(&job).await {
        return Ok(());
    }
    let container = targets::inspect_labelled_target(engine, &mut record.clone()).await;
    match container.none_if(&[Kind::ContainerNotFound])? {
        Some(container) => remove_target(engine, record, &container, true).await,
        None => Ok(()),
    }
}

/// Removes the containers that earlier stages of this pipe have left, if their results were collected.
async fn remove_leftovers(engine: &Engine, leftovers: &LeftoverContainers, record: &Record) -> Result<()> {
    let mut all_removed = Ok(());
    for mut left in leftovers.find(engine, record).await? {
        if !is_unstarted(&left.container().unwrap_or_default()) && !is_collected(&left) {
            continue;
        }
        let remove = async {
            let container = targets::inspect_labelled_target(engine, &mut left).await?;
            if container.has_ended() || is_unstarted(&container) {
                remove_target(engine, &left, &container, false).await
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

fn is_unstarted(container: &Container) -> bool {
    container.state == "created"
}

/// Whether the container of a record does not exist, or is being removed by another client.
async fn is_removed(engine: &Engine, record: &Record) -> bool {
    let Ok(id) = targets::container_id(record) else { return false };
    match engine.inspect(&id).await {
        Ok(inspected) => container_from_inspect(&inspected).state == "removing",
        Err(failure) => failure.kind == Kind::ContainerNotFound,
    }
}

/// Makes sure that nothing is lost with an ended container. Fails with [`Kind::ResultsMissing`] if its job wrote files that
/// were not collected.
async fn check_collected(engine: &Engine, record: &Record, container: &Container) -> Result<()> {
    let Container { id, name, .. } = container;
    if record.job().is_some() && !is_collected(record) && has_written(engine, record, id).await? {
        let message = format!("kept the container `{name}`: what its job wrote was not collected");
        let collect = if has_left_out(record) {
            format!("`ncaas-sync collect --all {name}` (or `--from /tmp`) collects the files that were left out")
        } else {
            format!("`ncaas-sync collect {name}` collects it")
        };
        return Err(Failure::new(Kind::ResultsMissing, message)
            .hint(format!("{collect}; `ncaas-exec rm --force {name}` discards it")));
    }
    Ok(())
}

/// Removes a container, after the user has become the owner of its files. A running one is killed first. Fails as
/// [`check_collected`], unless `force` discards what was not collected.
async fn remove_target(engine: &Engine, record: &Record, container: &Container, force: bool) -> Result<()> {
    let id = &container.id;
    let was_started = !is_unstarted(container);
    if container.has_ended() && !force {
        check_collected(engine, record, container).await?;
    } else if was_started && !container.has_ended() {
        // A running job would write more files, which belong to its user.
        engine.stop(id, 0).await?;
    }
    if was_started {
        targets::take_ownership(engine, record, id).await?;
    }
    lifecycle::remove_container(engine, id, force).await?;
    if let Ok(job) = JobFolder::for_record(record) {
        job.remove_work(force);
    }
    Ok(())
}

/// Whether the job's results were collected: its record, or its saved record, lists them.
fn is_collected(record: &Record) -> bool {
    let lists_results = |record: &Record| {
        count_left_out(record) == 0 && (record.results().is_some() || record.results_file().is_some())
    };
    // The saved record is newer than one that an earlier stage or command printed.
    let saved = saved_record(record).filter(|saved| saved.results().is_some() || saved.results_file().is_some());
    lists_results(saved.as_ref().unwrap_or(record))
}

/// Whether files of the job were left out when its results were collected.
fn has_left_out(record: &Record) -> bool {
    count_left_out(record) > 0 || saved_record(record).is_some_and(|saved| count_left_out(&saved) > 0)
}

fn count_left_out(record: &Record) -> u64 {
    record.fields().ok().and_then(|known| known.uncollected).unwrap_or_default()
}

fn saved_record(record: &Record) -> Option<Record> {
    JobFolder::for_record(record).ok()?.saved_record()
}

/// Whether a job has written files, to its mounted folders or anywhere in its container.
async fn has_written(engine: &Engine, record: &Record, id: &str) -> Result<bool> {
    let mounted = JobFolder::for_record(record).and_then(|folder| folder.mounted()).unwrap_or_default();
    let is_empty = |folder: &PathBuf| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !mounted.iter().all(is_empty) {
        return Ok(true);
    }
    let inspected = engine.inspect(id).await?;
    let mounts: Vec<String> = inspected.mounts.into_iter().flatten().filter_map(|mount| mount.destination).collect();
    let layer = inspected.graph_driver.filter(|driver| driver.name == "overlay2");
    if layer.and_then(|driver| has_only_mount_points(driver.data.get("UpperDir")?, &mounts)) == Some(true) {
        return Ok(false);
    }
    let changes = engine.changes(id).await?;
    // The engine lists mount points, and the folders above each change.
    let is_own = |path: &str| {
        !mounts.iter().any(|mount| is_above(path, mount) || is_above(mount, path))
            && !changes.iter().any(|other| other.path != path && is_above(path, &other.path))
    };
    Ok(changes.iter().any(|change| is_own(&change.path)))
}

fn is_above(path: &str, below: &str) -> bool {
    below == path || below.starts_with(&format!("{}/", path.trim_end_matches('/')))
}

/// Whether a container's own layer has nothing but folders for its mounts. None if the layer cannot be read here. The
/// engine takes 25 ms or more to compare the layer with the image.
fn has_only_mount_points(layer: &str, mounts: &[String]) -> Option<bool> {
    for entry in WalkDir::new(layer).min_depth(1) {
        let entry = entry.ok()?;
        let path = entry.path().to_str()?.strip_prefix(layer)?;
        if !mounts.iter().any(|mount| is_above(path, mount)) {
            return Some(false);
        }
    }
    Some(true)
}

fn still_running(container: &Container) -> Failure {
    Failure::new(Kind::Usage, format!("cannot remove `{}`: it is {}", container.name, container.state))
        .hint("stop it first (`ncaas-exec stop`), or remove it with --force")
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
            let mut record = Record::for_container(&found.id);
            let container = targets::inspect_target(engine, &mut record).await.none_if(&[Kind::ContainerNotFound])?;
            if container.is_some_and(|container| self.matches(&record, &container)) {
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
