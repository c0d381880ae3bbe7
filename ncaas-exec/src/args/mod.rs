//! The command line.

mod settings;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::duration::{parse_age, parse_duration};
use ncaas_core::io_dir::DEFAULT_IO_DIR;
use ncaas_core::pipe::{ContainerArg, ContainersArgs, PipeArgs, RecordArgs};
use ncaas_core::record::fields::Status;
pub(crate) use settings::{JobSettingsArgs, MountArg, SettingsArgs};

/// Start, inspect and remove containers: development containers and jobs.
///
/// Each verb works on the containers or the image given as arguments. Without arguments it reads records from stdin,
/// one JSON object per line, adds what it learns, and writes them to stdout.
#[derive(Debug, Parser)]
#[command(name = "ncaas-exec", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a development container with the io-dir mounted
    #[command(after_help = "\
Examples:
  ncaas-exec start neurocaas/contrib:base --name dev
  ncaas-exec shell dev
  ncaas-exec stop dev
  ncaas-exec start --name dev")]
    Start(Box<StartArgs>),
    /// Open an interactive shell in a container
    #[command(after_help = "\
Examples:
  ncaas-exec start neurocaas/contrib:base | ncaas-exec shell")]
    Shell(ShellArgs),
    /// Run a command in a running container and exit with its status
    #[command(after_help = "\
Examples:
  ncaas-exec in dev -- ./run.sh io-dir/inputs/session1.npy io-dir/configs/c.yaml
  tar c src | ncaas-exec in -i dev -- tar x

Exit status: the command's own; 125 if ncaas-exec itself failed or ended the command after --timeout.")]
    In(InArgs),
    /// Run an image as a detached job
    #[command(mut_arg("jobs", |jobs| jobs.help("Run at most N jobs at once [default: as many as CPUs, memory and GPUs allow]")))]
    #[command(after_help = "\
Examples:
  ncaas-exec run neurocaas/contrib:pca.356d78a --data d.npy --config c.yaml |
      ncaas-exec wait
  ncaas-exec run neurocaas/contrib:pca.356d78a --data a.npy b.npy \\
      --config c.yaml --follow
  echo '{\"image\":\"neurocaas/contrib:base\",\"command\":[\"ls\"]}' | ncaas-exec run

The command gets the dataset as $1 and $data, and the config as $2 and $config: paths in the container.")]
    Run(Box<RunArgs>),
    /// Wait until jobs have ended and report how they ended
    #[command(after_help = "\
Examples:
  ncaas-exec run neurocaas/contrib:pca.356d78a --data d.npy --config c.yaml |
      ncaas-exec wait | jq .container.status
  ncaas-exec wait dev

Exit status: with one CONTAINER its exit code, or 125 if ncaas-exec itself failed; as a filter 0 or 1.")]
    Wait(WaitArgs),
    /// Stop containers: send TERM, then KILL after a grace period
    #[command(after_help = "\
Examples:
  ncaas-exec stop dev
  ncaas-exec ls | jq -c 'select(.job.group == \"lab\")' | ncaas-exec stop")]
    Stop(StopArgs),
    /// Remove containers that have ended
    #[command(after_help = "\
Examples:
  ncaas-exec rm --older-than 7d --status success
  ncaas-exec ls --all | jq -c 'select(.image == \"old\")' | ncaas-exec rm

Keeps running containers, those whose record has an error, and those whose log
was not saved or with files that were not collected; --force discards them. In a
pipe, put `ncaas-logs save | ncaas-sync collect` before it. Development containers
are removed by name only. The exit status is 1 if all jobs are still running.")]
    Rm(RmArgs),
    /// List the containers that ncaas-exec started
    #[command(after_help = "\
Examples:
  ncaas-exec ls
  ncaas-exec ls --all | jq -r '.container | [.name, .status] | @tsv'")]
    Ls(LsArgs),
    /// Show the disk space that jobs use: containers, work folders, results and images
    #[command(after_help = "\
Examples:
  ncaas-exec du
  ncaas-exec du --json | jq -c 'select(.results_bytes > 1e9) | .job'

`ncaas-exec rm --older-than 7d --dry-run` lists the containers that a clean-up would remove.")]
    Du(DuArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    /// The image; without it, starts the existing container of --name, or reads records from stdin
    pub(crate) image: Option<String>,

    /// Name of the container; a stopped development container with this name is started again
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Mount a folder with source code, writable, beside the io-dir
    #[arg(long, value_name = "DIR")]
    pub(crate) mount_source: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) target: ContainerArg,

    /// User in the container [default: the container's]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InArgs {
    /// The container: its name or id, a job's id or folder, the name of a dataset, the file of a saved record, or
    /// `last`
    pub(crate) container: String,

    /// Connect this command's stdin to the command in the container
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Run the command in the background; `ncaas-exec wait` reports its exit code
    #[arg(short, long, conflicts_with_all = ["interactive", "timeout"])]
    pub(crate) detach: bool,

    /// Time limit: send TERM when it is reached, then KILL after a grace period
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) timeout: Option<u64>,

    /// Set an environment variable; NAME alone copies the value from this environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Working directory [default: the container's]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,

    /// User in the container [default: the container's]
    #[arg(short, long)]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) records: RecordArgs,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(mut_arg("jobs", |jobs| {
    jobs.help("Run at most N jobs at once [default: as many as the engine's CPUs, memory and GPUs allow]")
}))]
pub(crate) struct RunArgs {
    /// The image; without it, records on stdin are run
    #[arg(value_name = "IMAGE")]
    pub(crate) target: Option<String>,

    /// Image for records on stdin without one
    #[arg(long = "image", value_name = "IMAGE", env = "NCAAS_IMAGE")]
    pub(crate) image: Option<String>,

    /// The dataset: a file or folder on this machine; several datasets make one job each
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,

    /// The config: a file on this machine
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Job id, and name of the results folder [default: made from the image and the time]
    #[arg(long, conflicts_with = "replay")]
    pub(crate) name: Option<String>,

    /// Time limit of the job; a shorter `__duration__` (minutes) in its config takes precedence
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) timeout: Option<u64>,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) job_settings: JobSettingsArgs,

    /// Label the containers with a scheduler's job, for example slurm:720
    #[arg(long, value_name = "SCHEDULER:ID")]
    pub(crate) placement: Option<String>,

    /// Wait for the jobs, and print their output on stderr as it comes
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) follow: bool,

    /// Print the complete record and the equivalent `docker run` command, and start nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Repeat the run of an ended job: same image, command and settings, and inputs with the same checksums; with
    /// --config, a run with another config. JOB is a saved record.json, a job's id or folder, or the name of its
    /// dataset
    #[arg(long, value_name = "JOB", conflicts_with_all = ["target", "data", "command"])]
    pub(crate) replay: Option<String>,

    /// Print what is started, where its files are mounted, its limits, and what a job waits for
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,

    /// Command and arguments, instead of the image's own command
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) targets: ContainersArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) targets: ContainersArgs,

    /// Stop all containers of a scheduler's job, for example slurm:720
    #[arg(long, value_name = "SCHEDULER:ID", conflicts_with = "containers")]
    pub(crate) placement: Option<String>,

    /// Time between TERM and KILL
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, default_value = "10s")]
    pub(crate) grace: u64,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) targets: ContainersArgs,

    /// Remove this user's containers whose jobs ended more than TIME ago, for example 7d
    #[arg(long, value_name = "TIME", value_parser = parse_age, conflicts_with = "containers")]
    pub(crate) older_than: Option<Duration>,

    /// Remove this user's containers whose jobs ended with STATUS; can be repeated
    #[arg(long, value_enum, conflicts_with = "containers")]
    pub(crate) status: Vec<Status>,

    /// Let --older-than and --status also select containers of other users
    #[arg(long, conflicts_with_all = ["containers", "placement"])]
    pub(crate) all_users: bool,

    /// Remove the containers of a scheduler's job, for example slurm:720
    #[arg(long, value_name = "SCHEDULER:ID", conflicts_with = "containers")]
    pub(crate) placement: Option<String>,

    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Stop and remove running containers too, and discard logs and files that were not saved
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LsArgs {
    /// Include containers that have ended
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Show the size of each container's own layer; the engine computes it, which takes time
    #[arg(long)]
    pub(crate) size: bool,

    /// List only the containers of a scheduler's job, for example slurm:720
    #[arg(long, value_name = "SCHEDULER:ID")]
    pub(crate) placement: Option<String>,

    /// List only containers whose io-dir belongs to this user
    #[arg(long)]
    pub(crate) mine: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DuArgs {
    /// io-dir to measure, in addition to those of existing containers
    #[arg(long, value_name = "DIR", env = "NCAAS_IO_DIR", default_value = DEFAULT_IO_DIR)]
    pub(crate) io_dir: PathBuf,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// A duration in whole seconds, rounded up.
fn parse_seconds(text: &str) -> Result<u64, String> {
    parse_duration(text).map(|time| time.as_secs_f64().ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_becomes_one_second() {
        assert_eq!(parse_seconds("0.2"), Ok(1));
        assert_eq!(parse_seconds("90s"), Ok(90));
    }

    #[test]
    fn the_command_line_is_valid() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
