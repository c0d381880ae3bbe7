//! `ncaas-exec rm`: containers that have ended are removed.

use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::engine::{Engine, LazyEngine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RmArgs;
use crate::{launch, subject};

const AT_ONCE: usize = 8;

pub(crate) async fn rm(tool: Tool, args: RmArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let connection = LazyEngine::default();
    let named = !args.containers.is_empty();
    let input = match Chosen::by(&args) {
        Some(chosen) => Input::records(chosen.find(connection.get().await?).await?),
        None => subject::input(tool, &args.containers, "ncaas-exec ls --all | ncaas-exec rm")?,
    };
    let one = async |engine: &Engine, record: &mut Record| {
        // Most have ended as they are told to have. Where it cannot be done so, a look says why.
        let told = record.container().unwrap_or_default();
        let known = told.has_ended() && !subject::is_unknown(record);
        if known && clear_away(engine, record, &told.id, args.force).await.is_ok() {
            return Ok(());
        }
        let container = match subject::look(engine, record).await {
            Ok(container) => container,
            // What is gone needs no removing, unless it was named by hand.
            Err(failure) if failure.kind == Kind::ContainerNotFound && !named => return Ok(()),
            Err(failure) => return Err(failure),
        };
        match container.state.as_str() {
            "running" | "paused" | "restarting" if !args.force && named => Err(still_runs(&container)),
            "running" | "paused" | "restarting" if !args.force => Ok(()),
            _ if !container.has_ended() => launch::remove(engine, &container.id, args.force).await,
            _ => clear_away(engine, record, &container.id, args.force).await,
        }
    };
    let work = async |record: &mut Record, _: &_| {
        // The word of the stage before counts, not how the container fares by now: a job that has ended since then still
        // has its results in there. Its record comes again when they have been brought away.
        let told = record.container().unwrap_or_default();
        if !told.has_ended() && !told.state.is_empty() && !named && !args.force {
            return Ok(());
        }
        connection.with_retry(tool, record, one).await
    };
    connection.connect_during(Pipe::new(tool, args.pipe.jobs_or(AT_ONCE)).filter(input, work)).await
}

/// Removes a container that has ended, after what it left on this machine has been made the user's.
async fn clear_away(engine: &Engine, record: &Record, id: &str, force: bool) -> Result<()> {
    subject::repair_ownership(engine, record, id).await?;
    launch::remove(engine, id, force).await
}

fn still_runs(container: &Container) -> Failure {
    Failure::new(Kind::Usage, format!("cannot remove `{}`: it is {}", container.name, container.state))
        .hint("stop it first (`ncaas-exec stop`), or remove it with --force")
}

/// Ended jobs that flags choose.
struct Chosen {
    older_than: Option<Duration>,
    status: Vec<Status>,
}

impl Chosen {
    fn by(args: &RmArgs) -> Option<Self> {
        let chosen = Chosen {
            older_than: args.older_than.map(Duration::from_secs),
            status: args.status.iter().map(|status| (*status).into()).collect(),
        };
        (chosen.older_than.is_some() || !chosen.status.is_empty()).then_some(chosen)
    }

    async fn find(&self, engine: &Engine) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for found in engine.labelled(&[labels::JOB]).await? {
            let mut record = subject::of_name(&found.id);
            match subject::look(engine, &mut record).await {
                Ok(container) if self.is_meant(&container) => records.push(record),
                Ok(_) => {}
                Err(failure) if failure.kind == Kind::ContainerNotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(records)
    }

    fn is_meant(&self, container: &Container) -> bool {
        let Some(status) = container.status else { return false };
        let long_ago = |age: Duration| {
            let finished: Option<Timestamp> = container.finished_at.as_ref().and_then(|at| at.parse().ok());
            finished.is_some_and(|at| Timestamp::now().duration_since(at).unsigned_abs() >= age)
        };
        (self.status.is_empty() || self.status.contains(&status)) && self.older_than.is_none_or(long_ago)
    }
}
