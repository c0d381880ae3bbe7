//! ncaas-submit: put submit files into a bucket, and watch a bucket so that each submission is emitted once.

mod args;
mod aws_failure;
mod bucket_job;
mod commands;
mod job_state;
mod setup_log;
mod sqs;
mod submission;
mod submit_files;
mod targets;
mod validation;
mod waited_submissions;
mod watchers;

use std::process::ExitCode;

use args::{Args, Verb};
use ncaas_core::record::fields::RecordFields;
use ncaas_core::record::submission::{BucketRecord, SubmissionRecord};
use ncaas_core::schema::{Schema, schema_of};
use ncaas_core::tool;

fn main() -> ExitCode {
    tool::run("ncaas-submit", schema_of_verb, async |tool, args: Args| {
        args.patience.apply(tool);
        match args.verb {
            Verb::Send(args) => commands::send::send(tool, args).await,
            Verb::Watch(args) => commands::watch::watch(tool, args).await,
            Verb::Check(args) => commands::check::check(tool, args).await,
            Verb::Ls(args) => commands::ls::ls(tool, args).await,
            Verb::Wait(args) => commands::wait::wait(tool, args).await,
            Verb::Cancel(args) => commands::cancel::cancel(tool, args).await,
            Verb::Retry(args) => commands::retry::retry(tool, args).await,
            Verb::Init(args) => commands::init::init(tool, args).await,
            Verb::Place(args) => commands::place::place(tool, args).await,
            Verb::Claim(args) => commands::claim::claim(tool, args).await,
        }
    })
}

fn schema_of_verb(verb: &str) -> Schema {
    match verb {
        "ls" | "cancel" | "retry" => schema_of::<SubmissionRecord>(),
        "init" => schema_of::<BucketRecord>(),
        _ => schema_of::<RecordFields>(),
    }
}
