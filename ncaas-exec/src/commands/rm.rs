//! `ncaas-exec rm`: remove containers that have ended.

use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::engine::{Engine, LazyEngine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RmArgs;
use crate::{lifecycle, targets};

const DEFAULT_JOBS: usize = 8;

pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let connection = LazyEngine::default();
    let named = !args.containers.is_empty();
    let input = match JobFilter::new(&args) {
        Some(filter) => Input::records(filter.find_jobs(connection.get().await?).await?),
        None => targets::target_input(tool, &args.containers, "ncaas-exec ls --all | ncaas-exec rm")?,
    };
    let remove_target = async |engine: &Engine, record: &mut Record| {
        // In most cases the record says that the container has ended. If the removal fails, an inspection shows why.
        let known = record.container().unwrap_or_default();
        let has_ended = known.has_ended() && !targets::has_only_container(record);
        if has_ended
            && let Err(failure) = engine.inspect_for(record, &known.id).await
            && failure.kind == Kind::WrongContainer
        {
            return Err(failure);
        }
        if has_ended && remove_ended(engine, record, &known.id, args.force).await.is_ok() {
            return Ok(());
        }
        let container = match targets::inspect_target(engine, record).await {
            Ok(container) => container,
            // A container that does not exist is an error only if the user named it.
            Err(failure) if failure.kind == Kind::ContainerNotFound && !named => return Ok(()),
            Err(failure) => return Err(failure),
        };
        match container.state.as_str() {
            "running" | "paused" | "restarting" if !args.force && named => Err(still_running(&container)),
            "running" | "paused" | "restarting" if !args.force => Ok(()),
            _ if !container.has_ended() => lifecycle::remove_container(engine, &container.id, args.force).await,
            _ => remove_ended(engine, record, &container.id, args.force).await,
        }
    };
    let work = async |record: &mut Record, _: &_| {
        // The record counts here, not the container's state: the results of a job that ended after its record was written
        // are still in the container. The record comes again when they have been collected.
        let known = record.container().unwrap_or_default();
        if !known.has_ended() && !known.state.is_empty() && !named && !args.force {
            return Ok(());
        }
        connection.with_retry(tool, record, remove_target).await
    };
    connection.connect_during(Pipe::new(tool, args.pipe.jobs_or(DEFAULT_JOBS)).filter(input, work)).await
}

/// Removes an ended container, after the user has become the owner of its files.
async fn remove_ended(engine: &Engine, record: &Record, id: &str, force: bool) -> Result<()> {
    targets::take_ownership(engine, record, id).await?;
    lifecycle::remove_container(engine, id, force).await
}

fn still_running(container: &Container) -> Failure {
    Failure::new(Kind::Usage, format!("cannot remove `{}`: it is {}", container.name, container.state))
        .hint("stop it first (`ncaas-exec stop`), or remove it with --force")
}

/// Selects ended jobs by age and status.
struct JobFilter {
    older_than: Option<Duration>,
    status: Vec<Status>,
}

impl JobFilter {
    fn new(args: &RmArgs) -> Option<Self> {
        let filter = JobFilter {
            older_than: args.older_than.map(Duration::from_secs),
            status: args.status.iter().map(|status| (*status).into()).collect(),
        };
        (filter.older_than.is_some() || !filter.status.is_empty()).then_some(filter)
    }

    async fn find_jobs(&self, engine: &Engine) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for found in engine.labelled(&[labels::JOB]).await? {
            let mut record = targets::record_for_container(&found.id);
            match targets::inspect_target(engine, &mut record).await {
                Ok(container) if self.matches(&container) => records.push(record),
                Ok(_) => {}
                Err(failure) if failure.kind == Kind::ContainerNotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(records)
    }

    fn matches(&self, container: &Container) -> bool {
        let Some(status) = container.status else { return false };
        let is_older = |age: Duration| {
            let finished: Option<Timestamp> = container.finished_at.as_ref().and_then(|at| at.parse().ok());
            finished.is_some_and(|at| Timestamp::now().duration_since(at).unsigned_abs() >= age)
        };
        (self.status.is_empty() || self.status.contains(&status)) && self.older_than.is_none_or(is_older)
    }
}
