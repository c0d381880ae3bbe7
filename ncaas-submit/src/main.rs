//! ncaas-submit: submit files into a bucket, and a watch on it that misses none and runs none twice.

mod args;
mod check;
mod config;
mod rules;
mod send;
mod setup;
mod submission;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-submit", async |tool, args: args::Args| args.run(tool).await)
}
