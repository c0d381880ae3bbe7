//! `ncaas-exec stop`: TERM, and after a while KILL.

use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::StopArgs;
use crate::subject;

/// The engine waits for each container's end before it answers.
const AT_ONCE: usize = 64;

pub(crate) async fn stop(tool: Tool, args: StopArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = subject::input(tool, &args.containers, "ncaas-exec ls | ncaas-exec stop")?;
    let connection = LazyEngine::default();
    let grace = i32::try_from(args.grace).unwrap_or(i32::MAX);
    let one = async |engine: &Engine, record: &mut Record| {
        let container = subject::look(engine, record).await?;
        if !container.has_ended() {
            engine.stop(&container.id, grace).await?;
            let container = engine.container(&container.id).await?;
            subject::tell(engine, record, container).await?;
        }
        Ok(())
    };
    let work = async |record: &mut Record, _: &_| connection.with_retry(tool, record, one).await;
    connection.connect_during(Pipe::new(tool, args.pipe.jobs_or(AT_ONCE)).filter(input, work)).await
}
