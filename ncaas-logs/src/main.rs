//! `ncaas-logs`: read the logs, state and resource usage of containers, and save them in NeuroCAAS's files.

mod args;
mod commands;
mod job_files;
mod job_summary;
mod log;
mod output_excerpt;
mod picture;
mod saved_files;
mod targets;
mod timeline;
mod usage;

use std::process::ExitCode;

use args::{Args, Verb};
use log::helper;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-logs", async |tool, args: Args| match args.verb {
        Verb::Lines(args) => commands::lines::print_lines(tool, args).await,
        Verb::State(args) => commands::state::report_state(tool, args).await,
        Verb::Usage(args) => commands::usage::sample_usage(tool, args).await,
        Verb::Plot(args) => commands::plot::plot_jobs(tool, args).await,
        Verb::Report(args) => commands::report::write_report(tool, args).await,
        Verb::Compare(args) => commands::compare::compare_records(tool, args).await,
        Verb::Save(args) => commands::save::save_jobs(tool, args).await,
        Verb::RemoveHelper { name } => helper::remove_when_alone(&name).await,
    })
}
