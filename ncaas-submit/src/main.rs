//! ncaas-submit: submit files into a bucket, and a watch on it that misses none and runs none twice.

mod args;
mod cancel;
mod check;
mod claim;
mod init;
mod job;
mod ls;
mod queue;
mod retry;
mod rules;
mod send;
mod setup;
mod subject;
mod submission;
mod wait;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-submit", async |tool, args: args::Args| args.run(tool).await)
}
