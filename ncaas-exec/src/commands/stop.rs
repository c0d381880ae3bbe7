//! `ncaas-exec stop`: send TERM, then KILL after a grace period.

use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::StopArgs;
use crate::targets;

/// The engine answers a stop request when the container has ended: most of the time is spent waiting.
const DEFAULT_JOBS: usize = 64;

pub(crate) async fn stop(tool: Tool, args: StopArgs) -> Result<ExitStatus> {
    let connection = LazyEngine::default();
    let input = match &args.placement {
        Some(placement) => targets::placement_input(connection.get().await?, placement).await?,
        None => Input::arguments_or_stdin(tool, &args.targets.containers, "ncaas-exec ls | ncaas-exec stop")?,
    };
    let grace = i32::try_from(args.grace).unwrap_or(i32::MAX);
    let stop_target = async |engine: &Engine, record: &mut Record| {
        let container = container_from_inspect(&engine.inspect_labelled_target(record).await?);
        if !container.has_ended() {
            engine.stop(&container.id, grace).await?;
            let container = engine.container(&container.id).await?;
            targets::update_record(engine, record, container).await?;
        }
        Ok(())
    };
    let work = async |record: &mut Record, _: &_| connection.with_retry(tool, record, stop_target).await;
    connection.connect_during(Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS).filter(input, work)).await
}
