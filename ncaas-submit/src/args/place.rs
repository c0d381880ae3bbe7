//! The command lines of the verbs for clusters: `place` and `claim`.

use std::path::PathBuf;
use std::time::Duration;

use ncaas_core::duration;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::resources::ResourceArgs;

/// How many records are placed at once without `-j`. A record costs no request while its job waits.
pub(crate) const DEFAULT_JOBS: usize = 1000;

/// Run the rest of the pipe for each record as a job of a cluster's scheduler
///
/// A node downloads the dataset, runs the container on its own engine and uploads the results. Emits a record whenever
/// the state of its scheduler job changes, and at the end the record that the node saved in the bucket.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit watch s3://pca |
    ncaas-submit place --on slurm --image neurocaas/contrib:pca.demo \\
      --with --partition=gpu |
    ncaas-logs save | ncaas-sync push

The last two stages report only jobs that no node could report.",
    mut_arg("jobs", |jobs| jobs.help(format!("Place at most N records of a group at once [default: {DEFAULT_JOBS}]"))))]
pub(crate) struct PlaceArgs {
    /// The scheduler: `slurm`, or `batch:QUEUE/DEFINITION` for a queue and a job definition of AWS Batch
    #[arg(long, value_name = "SCHEDULER", default_value = "slurm", value_parser = SchedulerName::parse)]
    pub(crate) on: SchedulerName,

    /// Pass an option to the scheduler's submit command unchanged; can be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub(crate) with: Vec<String>,

    /// The image for records without one
    #[arg(long, value_name = "IMAGE", env = "NCAAS_IMAGE")]
    pub(crate) image: Option<String>,

    /// The io-dir on the nodes [default: ./io-dir in the folder of this command]
    #[arg(long, value_name = "DIR")]
    pub(crate) io_dir: Option<PathBuf>,

    /// The engine on the nodes; `podman` starts one for each job
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: NodeEngine,

    #[command(flatten)]
    pub(crate) resources: ResourceArgs,

    /// Resubmit a job whose node failed, at most N times
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) retries: u64,

    /// Time between two listings of the scheduler's queue
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_duration)]
    pub(crate) poll: Duration,

    /// Run this on the node instead of the pipe, with the record on stdin
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// A cluster's scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchedulerName {
    /// Slurm, through `sbatch` and `squeue`.
    Slurm,
    /// A queue of AWS Batch.
    Batch { queue: String, definition: String },
}

impl SchedulerName {
    fn parse(text: &str) -> Result<Self, String> {
        let batch = text.strip_prefix("batch:").and_then(|names| names.split_once('/'));
        match batch {
            Some((queue, definition)) if !queue.is_empty() && !definition.is_empty() => {
                Ok(SchedulerName::Batch { queue: queue.to_owned(), definition: definition.to_owned() })
            }
            _ if text == "slurm" => Ok(SchedulerName::Slurm),
            _ => Err("write `slurm` or `batch:QUEUE/DEFINITION`".to_owned()),
        }
    }
}

/// The container engine of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NodeEngine {
    /// The node's Docker Engine.
    #[default]
    Docker,
    /// A rootless Podman that ends with the job.
    Podman,
}

impl NodeEngine {
    /// Its name in the batch script.
    pub(crate) fn name(self) -> &'static str {
        match self {
            NodeEngine::Docker => "docker",
            NodeEngine::Podman => "podman",
        }
    }
}

/// Register a run of a placed record, so that earlier runs can no longer write
///
/// The first stage of the pipe on a cluster node. If a node is cut off and comes back, its run writes nothing more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit claim <record.json | ncaas-sync pull | \\
    ncaas-exec run --image neurocaas/contrib:pca.demo | ncaas-exec wait")]
pub(crate) struct ClaimArgs {
    /// A record in a bucket, as `place` puts it there for AWS Batch; without it, records are read from stdin
    #[arg(value_name = "s3://BUCKET/KEY")]
    pub(crate) record: Option<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}
