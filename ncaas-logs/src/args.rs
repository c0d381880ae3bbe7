//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use jiff::Timestamp;
use ncaas_core::duration;
use ncaas_core::io_dir::DEFAULT_IO_DIR;
use ncaas_core::pipe::{ContainersArgs, PipeArgs, RecordArgs};
use ncaas_core::time::parse_time;
use regex::bytes::Regex;

/// The hidden verb that removes a helper container.
pub(crate) const REMOVE_HELPER: &str = "remove-helper";

/// Read the logs, state and resource usage of containers, and save them in the file formats of NeuroCAAS
#[derive(Debug, Parser)]
#[command(name = "ncaas-logs", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print the log of a container, as records or as text
    #[command(after_help = "Examples:\n  ncaas-logs lines --follow --text pca\n  \
        ncaas-logs lines --grep '(?i)error' pca | jq -r .line\n  \
        ncaas-logs lines --text --tail 20 io-dir/results/job__pca_1/logs/d.npy.log")]
    Lines(LinesArgs),
    /// Show whether a container runs, or how it ended
    #[command(after_help = "Examples:\n  ncaas-logs state pca | jq .container.status")]
    State(StateArgs),
    /// Sample the CPU, memory and I/O that a container uses
    #[command(after_help = "Examples:\n  ncaas-logs usage pca | jq '{cpu_percent, memory_bytes}'")]
    Usage(UsageArgs),
    /// Draw when jobs ran, how they ended and what they used
    #[command(after_help = "Examples:\n  ncaas-logs plot --output jobs.png io-dir/lab/results/*/logs/*.record.json")]
    Plot(PlotArgs),
    /// Write an HTML page about jobs: timeline, table, and the last lines of failed ones
    #[command(after_help = "Examples:\n  ncaas-logs report -o report.html io-dir/lab/results/*/logs/*.record.json")]
    Report(ReportArgs),
    /// Compare two jobs: image, command, config, inputs, results and resource usage
    #[command(after_help = "Examples:\n  ncaas-logs compare old/logs/d.npy.record.json new/logs/d.npy.record.json")]
    Compare(CompareArgs),
    /// Keep the log, status file and certificate of each job up to date, and save its record when it ends
    #[command(
        after_help = "Examples:\n  ncaas-exec run neurocaas/contrib:pca.356d78a --data d.npy --config c.yaml |\n      \
        ncaas-logs save --live | jq .container.state"
    )]
    Save(SaveArgs),
    /// Remove a helper container when the process that needs it has ended; internal: started by `ncaas-logs`
    #[command(name = REMOVE_HELPER, hide = true)]
    RemoveHelper {
        /// Name of the container
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LinesArgs {
    /// Containers: names or ids, ids or folders of jobs, names of datasets, or `last`; or files of jobs:
    /// `<dataset>.log`, `<dataset>.record.json` or a status file, even one of the platform; default: the records on
    /// stdin
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    /// Print new lines as the container writes them, until it ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print only lines since this time: 2026-11-22T10:24:55.5Z, a local time without zone, `10m ago`, `2d`, or Unix
    /// seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<Timestamp>,

    /// Print only lines up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) until: Option<Timestamp>,

    /// Print only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) tail: Option<usize>,

    /// Print only standard output
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,

    /// Print only standard error
    #[arg(long)]
    pub(crate) stderr: bool,

    /// Add the attributes that the log driver's options (labels, env, tag) give each line
    #[arg(long)]
    pub(crate) details: bool,

    /// Print only lines that match this regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) grep: Option<Regex>,

    /// Print text with local times instead of records, without control sequences; the default on a terminal
    #[arg(long)]
    pub(crate) text: bool,

    /// Print the bytes of the output unchanged and without times
    #[arg(long, conflicts_with_all = ["text", "details"])]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StateArgs {
    /// Containers: names or ids, ids or folders of jobs, names of datasets, or `last`; or files of jobs:
    /// `<dataset>.log`, `<dataset>.record.json` or a status file, even one of the platform; default: the records on
    /// stdin
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) targets: ContainersArgs,

    /// Time between two samples, like 10s or 1m; the engine takes one a second
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse_duration)]
    pub(crate) every: Duration,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PlotArgs {
    /// Saved records, folders of jobs, files with a record on each line, or status files; default: the records on stdin
    #[arg(value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,

    /// Write the picture to FILE, an SVG or a PNG by its name
    #[arg(short, long, value_name = "FILE", default_value = "jobs.svg", value_parser = parse_picture_path)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// Saved records, folders of jobs, files with a record on each line, or status files; default: the records on stdin
    #[arg(value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,

    /// Write the page to FILE
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CompareArgs {
    /// A job: its saved record (`<dataset>.record.json`), its folder or id, its container, the name of its dataset, or
    /// `last`
    #[arg(value_name = "A")]
    pub(crate) a: String,

    /// The other job
    #[arg(value_name = "B")]
    pub(crate) b: String,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    pub(crate) targets: ContainersArgs,

    /// Emit the record of a running job whenever its files have changed, at most once every TIME; without this option,
    /// the record of a job from a bucket is emitted once while the job runs
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = duration::parse_duration)]
    pub(crate) live: Option<Duration>,

    /// The io-dir for records without one
    #[arg(long, value_name = "DIR", env = "NCAAS_IO_DIR", default_value = DEFAULT_IO_DIR)]
    pub(crate) io_dir: PathBuf,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// The path of a picture, whose name says its format.
fn parse_picture_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("svg" | "png") => Ok(path),
        _ => Err("a picture is an SVG or a PNG: its name must end in `.svg` or `.png`".to_owned()),
    }
}
