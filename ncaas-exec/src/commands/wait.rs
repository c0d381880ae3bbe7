//! `ncaas-exec wait`: wait until jobs or detached commands have ended.

use std::cell::Cell;

use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::pipe::{FollowedJobs, Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, DetachedExec, RecordFields};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::WaitArgs;
use crate::detached_exec::wait_for_detached;
use crate::outcome::{note_unsaved, report_outcome};
use crate::targets;

/// Waiting costs little.
const DEFAULT_JOBS: usize = 1024;

pub(crate) async fn wait(tool: Tool, args: WaitArgs) -> Result<ExitStatus> {
    let input = Input::arguments_or_stdin(tool, &args.targets.containers, "ncaas-exec run IMAGE | ncaas-exec wait")?;
    let connection = LazyEngine::default();
    let exit_code = Cell::new(None);
    let jobs = FollowedJobs::default();
    let work = async |record: &mut Record, _: &_| {
        // `ncaas-exec ls` lists development containers, which do not end by themselves, with the jobs.
        if record.is_development() && !record.as_map().contains_key("exec") {
            return Ok(());
        }
        jobs.note_record(record);
        let waited = jobs.follow(wait_for_target(tool, &connection, record)).await;
        if waited.is_ok()
            && let Ok(engine) = connection.get().await
        {
            report_outcome(&jobs, tool, engine, record).await;
        }
        exit_code.set(record.container().and_then(|container| container.exit_code));
        waited
    };
    let pipe =
        Pipe { skips_pushed: true, explains_interruption: true, ..Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS) };
    let waiting = pipe.filter(input, work);
    let status = tool.show_counts(|| jobs.counts(), connection.connect_during(waiting)).await;
    let is_interrupted = status.as_ref().is_ok_and(|status| status.is_interrupted());
    jobs.note_end(tool, is_interrupted);
    if !is_interrupted {
        note_unsaved(&jobs, tool);
    }
    if args.targets.containers.len() != 1 {
        return status;
    }
    match (status, exit_code.get()) {
        (Ok(status), _) if status.is_interrupted() => Ok(status),
        (Ok(_), Some(code)) => Ok(ExitStatus::of_command(code)),
        (Ok(_), None) => Ok(ExitStatus::TOOL_FAILED),
        (Err(failure), _) => {
            tool.report_failure(&failure);
            Ok(ExitStatus::TOOL_FAILED)
        }
    }
}

async fn wait_for_target(tool: Tool, connection: &LazyEngine, record: &mut Record) -> Result<()> {
    if let Some(detached) = record.fields()?.exec.filter(|detached| detached.exit_code.is_none()) {
        let wait = async |engine: &Engine, record: &mut Record| {
            let container = record.container_id()?;
            engine.inspect_for(record, &container).await?;
            wait_for_detached(engine, &container, &detached).await
        };
        let exit_code = Some(connection.with_retry(tool, record, wait).await?);
        record.merge(&RecordFields { exec: Some(DetachedExec { exit_code, ..detached }), ..RecordFields::default() });
        return Ok(());
    }
    let has_ended = record.container().is_some_and(|container| container.has_ended());
    if has_ended && !record.as_map().contains_key("exec") {
        return Ok(());
    }
    let prepare = async |engine: &Engine, record: &mut Record| {
        engine.inspect_target(record).await?;
        Ok(engine.clone())
    };
    let waited = async {
        // The wait itself retries during outages.
        let engine = connection.with_retry(tool, record, prepare).await?;
        engine.wait(&record.container_id()?).await
    };
    match waited.await {
        Ok(container) => {
            let update = async |engine: &Engine, record: &mut Record| {
                targets::update_record(engine, record, container.clone()).await
            };
            connection.with_retry(tool, record, update).await
        }
        // The container was removed, possibly after its final record was saved.
        Err(failure) if failure.kind == Kind::ContainerNotFound => {
            let of_job = || JobFolder::for_record(record).ok()?.saved_record()?.container();
            // An argument may have named the saved record.
            let saved = record.container().filter(Container::has_ended).or_else(of_job).ok_or(failure)?;
            targets::check_saved_container(connection.get().await?, record, &saved).await?;
            record.merge(&RecordFields { container: Some(saved), ..RecordFields::default() });
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}
