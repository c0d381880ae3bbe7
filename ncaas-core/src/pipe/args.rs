//! The flags of verbs that read or write records.

use clap::Args;

/// The flags of a verb that reads records. `run` and other verbs give `-j` their own help.
#[derive(Debug, Clone, Args)]
pub struct PipeArgs {
    /// Work on at most N records of a group at once
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// What the verb prints.
    #[command(flatten)]
    pub records: RecordArgs,
}

impl PipeArgs {
    /// How many records of a group to work on at once: `--jobs`, or else `default`.
    pub fn jobs_or(&self, default: usize) -> usize {
        self.jobs.map_or(default, usize::from)
    }
}

/// The flags of every verb that writes records.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// Print failures only, of tools and of jobs: no notes, successes or progress
    #[arg(short, long)]
    pub quiet: bool,

    /// Print records as JSON on a terminal too, instead of summaries or a table
    #[arg(long)]
    pub json: bool,
}

/// What a verb works on, as [`Input::arguments_or_stdin`](super::Input::arguments_or_stdin) reads it.
#[derive(Debug, Clone, Args)]
pub struct ContainersArgs {
    /// Containers: names or ids, ids or folders of jobs, names of datasets, files of saved records, or `last`; default:
    /// the records on stdin
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// What a verb works on, if that is one container.
#[derive(Debug, Clone, Args)]
pub struct ContainerArg {
    /// The container: its name or id, a job's id or folder, the name of a dataset, the file of a saved record, or
    /// `last`; default: the records on stdin
    #[arg(value_name = "CONTAINER")]
    pub container: Option<String>,
}
