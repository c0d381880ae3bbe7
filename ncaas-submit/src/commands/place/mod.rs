//! `ncaas-submit place`: run the rest of the pipe for each record as a job of the lab's scheduler, on a node with an
//! engine. The data travels through the bucket.
//!
//! - [`request`]: what a record asks of the scheduler
//! - [`node_script`]: the script that runs the rest of the pipe on a node
//! - [`slurm`], [`scheduled_job`], [`queue`]: Slurm's commands and its queue
//! - [`aws_batch`]: a queue of AWS Batch; [`aws_batch_disabled`] replaces it in a build without the feature `batch`
//! - [`scheduler`]: one of the two
//! - [`next_step`]: the decision what to do next about a record
//! - [`placer`]: one record from its submission to its end

#[cfg(feature = "batch")]
mod aws_batch;
#[cfg(any(not(feature = "batch"), test))]
mod aws_batch_disabled;
mod next_step;
mod node_script;
mod placer;
mod queue;
mod request;
mod scheduled_job;
mod scheduler;
mod slurm;

#[cfg(not(feature = "batch"))]
use aws_batch_disabled as aws_batch;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::{DEFAULT_JOBS, PlaceArgs, SchedulerName};
use aws_batch::BatchQueue;
use node_script::NodeOptions;
use placer::Placer;
use scheduler::Scheduler;

pub(crate) async fn place(tool: Tool, args: PlaceArgs) -> Result<ExitStatus> {
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET | ncaas-submit place --on slurm")?;
    let scheduler = match &args.on {
        SchedulerName::Slurm => {
            slurm::check_options(&args.with)?;
            Scheduler::Slurm { options: args.with }
        }
        SchedulerName::Batch { .. } if !args.with.is_empty() || !args.command.is_empty() => {
            let message = "`--with` and COMMAND work with Slurm only";
            return Err(Failure::new(Kind::Usage, message).hint("for AWS Batch, change the job definition"));
        }
        SchedulerName::Batch { queue, definition } => Scheduler::Batch(BatchQueue::open(queue, definition).await?),
    };
    let node = NodeOptions {
        image: args.image,
        io_dir: args.io_dir.map(|path| path.to_string_lossy().into_owned()),
        engine: args.engine.name().to_owned(),
        command: args.command,
    };
    let placer = Placer::new(tool, node, args.resources.settings(), scheduler, args.retries, args.poll);
    let pipe = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS)
        .filter(input, async |record: &mut Record, output: &Output| placer.place(record, output).await);
    tokio::select! {
        biased;
        status = pipe => status,
        () = placer.keep_listing() => Ok(ExitStatus::SUCCESS),
    }
}
