//! `ncaas-exec wait`: until jobs have ended, and how they did.

use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{DetachedExec, Known};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ContainersArgs;
use crate::{detach, subject};

/// One that waits holds up no other: as many as anybody runs.
const AT_ONCE: usize = 1024;
/// The exit status of `wait CONTAINER` where we failed, and not the container.
const OUR_FAILURE: u8 = 125;

pub(crate) async fn wait(tool: Tool, args: ContainersArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = subject::input(tool, &args.containers, "ncaas-exec run IMAGE | ncaas-exec wait")?;
    let connection = LazyEngine::default();
    let exit_code = std::cell::Cell::new(None);
    let work = async |record: &mut Record, _: &_| {
        let ended = one(tool, &connection, record).await;
        exit_code.set(record.container().and_then(|container| container.exit_code));
        ended
    };
    let status = connection.connect_during(Pipe::new(tool, args.pipe.jobs_or(AT_ONCE)).filter(input, work)).await;
    if args.containers.len() != 1 {
        return status;
    }
    match (status, exit_code.get()) {
        (Ok(status), _) if status.0 > 128 => Ok(status),
        (Ok(_), Some(code)) => Ok(ExitStatus(u8::try_from(code).unwrap_or(OUR_FAILURE))),
        (Ok(_), None) => Ok(ExitStatus(OUR_FAILURE)),
        (Err(failure), _) => {
            tool.report_failure(&failure);
            Ok(ExitStatus(OUR_FAILURE))
        }
    }
}

async fn one(tool: Tool, connection: &LazyEngine, record: &mut Record) -> Result<()> {
    let has_ended = record.container().is_some_and(|container| container.has_ended());
    if has_ended && !record.as_map().contains_key("exec") {
        return Ok(());
    }
    if let Some(detached) = record.known()?.exec.filter(|detached| detached.exit_code.is_none()) {
        let wait = async |engine: &Engine, record: &mut Record| {
            detach::wait(engine, &subject::find_container(record)?, &detached).await
        };
        let exit_code = connection.with_retry(tool, record, wait).await?;
        record
            .merge(&Known { exec: Some(DetachedExec { exit_code: Some(exit_code), ..detached }), ..Known::default() });
        return Ok(());
    }
    let begin = async |engine: &Engine, record: &mut Record| {
        if subject::is_unknown(record) {
            subject::look(engine, record).await?;
        }
        Ok(engine.clone())
    };
    let waited = async {
        // From here on the wait has a patience of its own.
        let engine = connection.with_retry(tool, record, begin).await?;
        engine.wait(&subject::find_container(record)?).await
    };
    match waited.await {
        Ok(container) => {
            let tell =
                async |engine: &Engine, record: &mut Record| subject::tell(engine, record, container.clone()).await;
            return connection.with_retry(tool, record, tell).await;
        }
        // It may have been removed since, and what became of it saved.
        Err(failure) if failure.kind == Kind::ContainerNotFound => {
            let saved = JobFolder::for_record(record).ok().and_then(|folder| folder.saved_record()?.container());
            record.merge(&Known { container: Some(saved.ok_or(failure)?), ..Known::default() });
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}
