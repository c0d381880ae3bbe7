//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::quantity::parse_bytes;
use ncaas_core::record::fields::{Gpus, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::quantity;

/// Containers: step into one, try a command in it, run an analysis as a job, and see what became of it.
///
/// A verb that is given its subject as an argument works on that one. Without it, it reads records from stdin, one JSON
/// object a line, and writes each to stdout with what it has found out.
#[derive(Debug, Parser)]
#[command(name = "ncaas-exec", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a development container that stays up, with the whole io-dir in it
    #[command(after_help = START_EXAMPLE)]
    Start(StartArgs),
    /// Open an interactive shell in a container
    #[command(after_help = SHELL_EXAMPLE)]
    Shell(ShellArgs),
    /// Run one command in a running container, and end with its exit status
    #[command(after_help = IN_EXAMPLE)]
    In(InArgs),
    /// Run an image as a job, detached
    #[command(after_help = RUN_EXAMPLE)]
    Run(Box<RunArgs>),
    /// Wait until jobs have ended, and say how
    #[command(after_help = WAIT_EXAMPLE)]
    Wait(ContainersArgs),
    /// Stop containers: TERM, and KILL after a while
    #[command(after_help = STOP_EXAMPLE)]
    Stop(StopArgs),
    /// Remove containers that have ended
    #[command(after_help = RM_EXAMPLE)]
    Rm(RmArgs),
    /// List containers of ours, each with its record
    #[command(after_help = LS_EXAMPLE)]
    Ls(LsArgs),
}

impl Args {
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Start(args) => crate::start::start(tool, args).await,
            Verb::Shell(args) => crate::shell::shell(tool, args).await,
            Verb::In(args) => crate::inside::inside(tool, args).await,
            Verb::Run(args) => crate::run::run(tool, *args).await,
            Verb::Wait(args) => crate::wait::wait(tool, args).await,
            Verb::Stop(args) => crate::stop::stop(tool, args).await,
            Verb::Rm(args) => crate::rm::rm(tool, args).await,
            Verb::Ls(args) => crate::ls::ls(tool, args).await,
        }
    }
}

/// What `start` and `run` have in common: where the container reads and writes, and what it may use.
#[derive(Debug, ClapArgs)]
pub(crate) struct SettingsArgs {
    /// The io-dir on this machine [default: ./io-dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) io_dir: Option<PathBuf>,

    /// Where the io-dir is in the container [default: the image's label org.neurocaas.io-dir, or
    /// /home/neurocaasdev/io-dir]
    #[arg(long, value_name = "PATH")]
    pub(crate) mount: Option<String>,

    /// Set an environment variable; K alone takes its value from the environment of this command
    #[arg(short, long, value_name = "K=V")]
    pub(crate) env: Vec<String>,

    /// Set environment variables from a file of K=V lines
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Pass a variable of this command's environment on, and write its value into no record, label or log
    #[arg(long, value_name = "K")]
    pub(crate) secret_env: Vec<String>,

    /// Memory limit: 512m, 4g
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,

    /// Processors: 2, 0.5
    #[arg(long, value_name = "N", value_parser = quantity::cpus)]
    pub(crate) cpus: Option<f64>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) shm_size: Option<u64>,

    /// One GPU: `require` fails where there is none, `auto` goes without and says so
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) gpus: Option<GpusArg>,

    /// Network of the container: none, host, bridge, or a name [default: the engine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,

    /// User in the container: a name, or UID:GID [default: the image's]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Platform of the image, if another than the engine's is meant: linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum GpusArg {
    /// Without a GPU
    None,
    /// With a GPU where there is one
    Auto,
    /// Only with a GPU
    Require,
}

impl From<GpusArg> for Gpus {
    fn from(arg: GpusArg) -> Self {
        match arg {
            GpusArg::None => Gpus::None,
            GpusArg::Auto => Gpus::Auto,
            GpusArg::Require => Gpus::Require,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    /// The image; without it, records on stdin name it
    pub(crate) image: Option<String>,

    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShellArgs {
    /// The container; without it, the record on stdin names it
    pub(crate) container: Option<String>,

    /// User in the container [default: the container's]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InArgs {
    /// The container
    pub(crate) container: String,

    /// Pass this command's stdin on
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Let it run, and keep its output and exit code in the container: `ncaas-exec wait` tells them
    #[arg(short, long, conflicts_with = "interactive")]
    pub(crate) detach: bool,

    /// End it after this long: TERM, and KILL after a while
    #[arg(long, value_name = "TIME", value_parser = quantity::seconds)]
    pub(crate) timeout: Option<u64>,

    /// Set an environment variable; K alone takes its value from the environment of this command
    #[arg(short, long, value_name = "K=V")]
    pub(crate) env: Vec<String>,

    /// Working directory [default: the container's]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,

    /// User in the container [default: the container's]
    #[arg(short, long)]
    pub(crate) user: Option<String>,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The image; without it, records on stdin are run
    #[arg(value_name = "IMAGE")]
    pub(crate) subject: Option<String>,

    /// The image of records on stdin that name none
    #[arg(long = "image", value_name = "IMAGE", conflicts_with = "subject")]
    pub(crate) image: Option<String>,

    /// The dataset: a file or folder of this machine
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// The config: a file of this machine
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Stop the job after this long (TERM, then KILL), and call that a timeout. The config's `__duration__` (minutes)
    /// does the same; the shorter counts
    #[arg(long, value_name = "TIME", value_parser = quantity::seconds)]
    pub(crate) timeout: Option<u64>,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    /// Print the record with everything resolved, and the equal `docker run` line, and start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Run a saved record.json again: the same image, command and settings, on inputs with the same checksums
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "image", "data", "config", "command"])]
    pub(crate) replay: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,

    /// Command and arguments, instead of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ContainersArgs {
    /// Containers, by name or id; without them, records on stdin name them
    pub(crate) containers: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StopArgs {
    /// Containers, by name or id; without them, records on stdin name them
    pub(crate) containers: Vec<String>,

    /// Time between TERM and KILL
    #[arg(long, value_name = "TIME", value_parser = quantity::seconds, default_value = "10s")]
    pub(crate) grace: u64,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RmArgs {
    /// Containers, by name or id; without them, records on stdin name them
    pub(crate) containers: Vec<String>,

    /// All jobs' containers that ended longer ago than this
    #[arg(long, value_name = "TIME", value_parser = quantity::seconds, conflicts_with = "containers")]
    pub(crate) older_than: Option<u64>,

    /// All jobs' containers that ended so; may be given more than once
    #[arg(long, value_enum, conflicts_with = "containers")]
    pub(crate) status: Vec<StatusArg>,

    /// Stop containers that run, and remove them too
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusArg {
    Success,
    Failed,
    OutOfMemory,
    Killed,
    Timeout,
}

impl From<StatusArg> for Status {
    fn from(arg: StatusArg) -> Self {
        match arg {
            StatusArg::Success => Status::Success,
            StatusArg::Failed => Status::Failed,
            StatusArg::OutOfMemory => Status::OutOfMemory,
            StatusArg::Killed => Status::Killed,
            StatusArg::Timeout => Status::Timeout,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LsArgs {
    /// Also containers that have ended
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Records, or a table for people [default: a table on a terminal, else json]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Table,
}

const START_EXAMPLE: &str = "\
Examples:
  ncaas-exec start neurocaas/contrib:base --name dev
  ncaas-exec shell dev";

const SHELL_EXAMPLE: &str = "\
Examples:
  ncaas-exec start neurocaas/contrib:base | ncaas-exec shell";

const IN_EXAMPLE: &str = "\
Examples:
  ncaas-exec in dev -- ./run.sh io-dir/inputs/session1.npy io-dir/configs/c.yaml
  tar c src | ncaas-exec in -i dev -- tar x

Exit status: the command's own; 125 where this tool failed, or ended the command after --timeout.";

const RUN_EXAMPLE: &str = "\
Examples:
  ncaas-exec run neurocaas/contrib:pca.356d78a --data d.npy --config c.yaml |
      ncaas-exec wait
  echo '{\"image\":\"neurocaas/contrib:base\",\"command\":[\"ls\"]}' | ncaas-exec run

The dataset's and the config's path in the container are $1 and $2 of the command, and the variables data and config.";

const WAIT_EXAMPLE: &str = "\
Examples:
  ncaas-exec run neurocaas/contrib:pca.356d78a | ncaas-exec wait |
      jq .container.status
  ncaas-exec wait dev

Exit status: with one CONTAINER its own exit code, and 125 where this tool failed; as a filter 0 or 1.";

const STOP_EXAMPLE: &str = "\
Examples:
  ncaas-exec stop dev
  ncaas-exec ls | jq -c 'select(.job.group == \"lab\")' | ncaas-exec stop";

const RM_EXAMPLE: &str = "\
Examples:
  ncaas-exec rm --older-than 7d --status success
  ncaas-exec ls --all | jq -c 'select(.image == \"old\")' | ncaas-exec rm

A record that carries an error keeps its container, and one that runs is left alone.";

const LS_EXAMPLE: &str = "\
Examples:
  ncaas-exec ls
  ncaas-exec ls --all | jq -r '.container | [.name, .status] | @tsv'";
