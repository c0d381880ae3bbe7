//! ncaas-sync: what changed in a container becomes results, and io-dir and bucket become the same.

use std::process::ExitCode;

use ncaas_core::tool;

mod args;
mod buckets;
mod cancelled;
mod collect;
mod diff;
mod jobs;
mod names;
mod place;
mod pull;
mod push;
mod report;
mod results;
mod select;
mod status;
mod tree;
mod uploads;
mod verify;

fn main() -> ExitCode {
    tool::run("ncaas-sync", async |tool, args: args::Args| args.run(tool).await)
}
