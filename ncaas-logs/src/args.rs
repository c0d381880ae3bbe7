//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::quantity;
use ncaas_core::tool::{ExitStatus, Tool};
use regex::bytes::Regex;

use crate::log::Stamp;
use crate::{lines, log, plot, save, state, time, usage};

/// What a container said and how it fared: as records, as text, and as the files that NeuroCAAS keeps of a job
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every line of output, as a record or as text
    #[command(after_help = "Examples:\n  ncaas-logs lines --follow --text pca\n  \
        ncaas-logs lines --grep '(?i)error' pca | jq -r .line\n  \
        ncaas-logs lines --text --tail 20 io-dir/results/job__pca_1/logs/d.npy.log")]
    Lines(LinesArgs),
    /// How a container fares, or how it ended
    #[command(after_help = "Examples:\n  ncaas-logs state pca | jq .container.status")]
    State(StateArgs),
    /// What a container uses of the machine, sample by sample
    #[command(after_help = "Examples:\n  ncaas-logs usage pca | jq '{cpu_percent, memory_bytes}'")]
    Usage(UsageArgs),
    /// Draw when jobs ran, how they ended and what they used
    #[command(after_help = "Examples:\n  ncaas-logs plot --output jobs.png io-dir/lab/results/*/logs/*.record.json")]
    Plot(PlotArgs),
    /// Keep a job's log, status file and certificate up to date, and its record when it has ended
    #[command(
        after_help = "Examples:\n  ncaas-exec run neurocaas/contrib:pca.356d78a --data d.npy --config c.yaml |\n      \
        ncaas-logs save --live | jq .container.state"
    )]
    Save(SaveArgs),
    /// Remove a helper container when the process that needs it has ended; for this program's own use
    #[command(name = log::helper::VERB, hide = true)]
    RemoveHelper {
        /// Name of the container
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UsageArgs {
    /// Containers, by name or id; without any, records on stdin name them
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    /// Time between two samples, like 10s or 1m; the engine takes one a second
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = quantity::parse_duration)]
    pub(crate) every: Duration,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PlotArgs {
    /// Saved records, `<dataset>.record.json`; without any, records on stdin
    #[arg(value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,

    /// The picture: an SVG, or a PNG where its name says so
    #[arg(short, long, value_name = "FILE", default_value = "jobs.svg")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

impl Args {
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Lines(args) => lines::lines(tool, args).await,
            Verb::State(args) => state::state(tool, args).await,
            Verb::Usage(args) => usage::usage(tool, args).await,
            Verb::Plot(args) => plot::plot(tool, args).await,
            Verb::RemoveHelper { name } => log::helper::remove_when_alone(&name).await,
            Verb::Save(args) => save::save(tool, args).await,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LinesArgs {
    /// Containers, by name or id, or files that `save` has written: `<dataset>.log`, `<dataset>.record.json`; without
    /// any, records on stdin name them
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    /// Go on as the container writes, until it has ended
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only lines from this time on: 2026-11-22T10:24:55.5Z, a local time without zone, 10m (ago), or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub(crate) since: Option<Stamp>,

    /// Only lines up to this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub(crate) until: Option<Stamp>,

    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<usize>,

    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,

    /// Only standard error
    #[arg(long)]
    pub(crate) stderr: bool,

    /// Each line with the attributes that the log's options (labels, env, tag) give it
    #[arg(long)]
    pub(crate) details: bool,

    /// Only lines that match this regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) grep: Option<Regex>,

    /// Text for reading, with local times, instead of records
    #[arg(long)]
    pub(crate) text: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StateArgs {
    /// Containers, by name or id, or files that `save` has written: `<dataset>.log`, `<dataset>.record.json`; without
    /// any, records on stdin name them
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SaveArgs {
    /// Containers, by name or id; without any, records on stdin name them
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    /// Also emit a job's record, as running, whenever its files have changed, and at most so often
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = quantity::parse_duration)]
    pub(crate) live: Option<Duration>,

    /// Where the io-dir of a record that names none is
    #[arg(long, value_name = "DIR", default_value = "io-dir")]
    pub(crate) io_dir: PathBuf,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}
