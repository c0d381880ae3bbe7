//! The flags that every verb has.

use clap::Args;

/// The flags of a verb that reads records.
#[derive(Debug, Clone, Args)]
pub struct PipeArgs {
    /// Work on at most N records at once
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// Print failures only: no notes, outcomes or progress
    #[arg(short, long)]
    pub quiet: bool,

    /// Print records as JSON on a terminal too, instead of summaries or a table
    #[arg(long)]
    pub json: bool,

    /// Print the JSON Schema of the records that the verb reads and writes
    #[arg(long, exclusive = true)]
    pub schema: bool,
}

impl PipeArgs {
    /// How many records to work on at once: `--jobs`, or else `default`.
    pub fn jobs_or(&self, default: usize) -> usize {
        self.jobs.map_or(default, usize::from)
    }
}

/// The flag of a verb that reads no records.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub schema: bool,
}
