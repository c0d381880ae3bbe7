//! `ncaas-logs`: what a container said and how it fared.

mod args;
mod lines;
mod log;
mod plot;
mod save;
mod saved;
mod state;
mod subject;
mod time;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-logs", async |tool, args: args::Args| args.run(tool).await)
}
