//! `ncaas-exec`: development containers and jobs.

mod args;
mod commands;
mod container_spec;
mod container_start;
mod container_user;
mod detached_exec;
mod docker_exec;
mod file_sharing;
mod gpu;
mod image;
mod listed_records;
mod outcome;
mod run_settings;
mod start_failure;
mod targets;

use std::process::ExitCode;

use args::{Args, Verb};
use ncaas_core::record::fields::RecordFields;
use ncaas_core::schema::{Schema, schema_of};
use ncaas_core::tool;

fn main() -> ExitCode {
    tool::run("ncaas-exec", schema_of_verb, async |tool, args: Args| match args.verb {
        Verb::Start(args) => commands::start::start(tool, *args).await,
        Verb::Shell(args) => commands::shell::shell(tool, args).await,
        Verb::In(args) => commands::r#in::run_in_container(tool, args).await,
        Verb::Run(args) => commands::run::run(tool, *args).await,
        Verb::Wait(args) => commands::wait::wait(tool, args).await,
        Verb::Stop(args) => commands::stop::stop(tool, args).await,
        Verb::Rm(args) => commands::rm::rm(tool, args).await,
        Verb::Ls(args) => commands::ls::ls(tool, args).await,
        Verb::Du(args) => commands::du::du(tool, args).await,
    })
}

fn schema_of_verb(verb: &str) -> Schema {
    match verb {
        "du" => schema_of::<commands::du::DiskUsage>(),
        _ => schema_of::<RecordFields>(),
    }
}
