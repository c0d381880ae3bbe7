//! `ncaas-submit place`: run the rest of the pipe for each record as a job of the lab's scheduler.

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Gpus, RunSettings};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::{PlaceArgs, SchedulerName};
use crate::place::batch::BatchQueue;
use crate::place::batch_script::NodeOptions;
use crate::place::placer::Placer;
use crate::place::scheduler::Scheduler;
use crate::place::slurm;

/// How many records are placed at once where `--jobs` does not say. A record costs no request while its job
/// waits.
const DEFAULT_JOBS: usize = 1000;

pub(crate) async fn place(tool: Tool, args: PlaceArgs) -> Result<ExitStatus> {
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET | ncaas-submit place --on slurm")?;
    let scheduler = match &args.on {
        SchedulerName::Slurm => {
            slurm::check_options(&args.with)?;
            Scheduler::Slurm { options: args.with }
        }
        SchedulerName::Batch { .. } if !args.with.is_empty() || !args.command.is_empty() => {
            let message = "`--with` and a command are for Slurm: a job of AWS Batch is described by its job definition";
            return Err(Failure::new(Kind::Usage, message));
        }
        SchedulerName::Batch { queue, definition } => Scheduler::Batch(BatchQueue::open(queue, definition).await?),
    };
    let node = NodeOptions {
        image: args.image,
        io_dir: args.io_dir.map(|path| path.to_string_lossy().into_owned()),
        engine: args.engine.name().to_owned(),
        command: args.command,
    };
    let flags = RunSettings {
        cpus: args.cpus,
        memory: args.memory,
        gpus: args.gpus.then_some(Gpus::Auto),
        ..RunSettings::default()
    };
    let placer = Placer::new(tool, node, flags, scheduler, args.retries, args.poll);
    let pipe = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS)
        .filter(input, async |record: &mut Record, output: &Output| placer.place(record, output).await);
    tokio::select! {
        biased;
        status = pipe => status,
        () = placer.keep_listing() => Ok(ExitStatus::SUCCESS),
    }
}
