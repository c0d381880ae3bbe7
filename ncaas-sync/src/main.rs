//! ncaas-sync: collect what containers wrote, and synchronise io-dirs with buckets.

use std::process::ExitCode;

use args::{Args, Verb};
use ncaas_core::record::fields::RecordFields;
use ncaas_core::schema::{Schema, schema_of};
use ncaas_core::tool;

mod args;
mod bucket_prefix;
mod commands;
mod container_changes;
mod container_paths;
mod default_exclusions;
mod end_file;
mod file_filter;
mod paired_listing;
mod path_text;
mod result_list;
mod transfer_report;
mod tree_transfer;

fn main() -> ExitCode {
    tool::run("ncaas-sync", schema_of_verb, async |tool, args: Args| {
        args.patience.apply(tool);
        match args.verb {
            Verb::Diff(args) => commands::diff::diff(tool, args).await,
            Verb::Collect(args) => commands::collect::collect(tool, args).await,
            Verb::Pull(args) => commands::pull::pull(tool, args).await,
            Verb::Push(args) => commands::push::push(tool, args).await,
            Verb::Status(args) => commands::status::status(tool, args).await,
            Verb::Verify(args) => commands::verify::verify(tool, args).await,
            Verb::Uploads(args) => commands::uploads::uploads(tool, args).await,
        }
    })
}

fn schema_of_verb(verb: &str) -> Schema {
    match verb {
        "diff" => schema_of::<commands::diff::ChangeRecord>(),
        "status" => schema_of::<commands::status::StatusRecord>(),
        "uploads" => schema_of::<commands::uploads::UploadRecord>(),
        _ => schema_of::<RecordFields>(),
    }
}
