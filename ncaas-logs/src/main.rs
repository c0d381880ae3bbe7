//! `ncaas-logs`: read the logs, state and resource usage of containers, and save them in NeuroCAAS's files.

mod args;
mod commands;
mod job_files;
mod job_summary;
mod log;
mod log_source;
mod picture;
mod runs;
mod saved_files;
mod timeline;
mod usage;

use std::process::ExitCode;

use args::{Args, Verb};
use log::helper_container;
use ncaas_core::record::fields::RecordFields;
use ncaas_core::schema::{Schema, schema_of};
use ncaas_core::tool;

fn main() -> ExitCode {
    tool::run("ncaas-logs", schema_of_verb, async |tool, args: Args| match args.verb {
        Verb::Lines(args) => commands::lines::print_lines(tool, args).await,
        Verb::State(args) => commands::state::report_state(tool, args).await,
        Verb::Usage(args) => commands::usage::sample_usage(tool, args).await,
        Verb::Plot(args) => commands::plot::plot_jobs(tool, args).await,
        Verb::Report(args) => commands::report::write_report(tool, args).await,
        Verb::Compare(args) => commands::compare::compare_records(tool, args).await,
        Verb::Save(args) => commands::save::save_jobs(tool, args).await,
        Verb::RemoveHelper { name } => helper_container::remove_when_alone(&name).await,
    })
}

fn schema_of_verb(verb: &str) -> Schema {
    match verb {
        "lines" => schema_of::<commands::lines::LineRecord>(),
        "usage" => schema_of::<commands::usage::SampleRecord>(),
        "plot" => schema_of::<commands::plot::PlotRecord>(),
        "report" => schema_of::<commands::report::ReportRecord>(),
        "compare" => schema_of::<commands::compare::Comparison>(),
        _ => schema_of::<RecordFields>(),
    }
}
