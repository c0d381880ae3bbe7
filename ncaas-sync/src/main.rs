//! ncaas-sync: what changed in a container becomes results, and io-dir and bucket become the same.

use std::process::ExitCode;

use ncaas_core::tool;

mod args;
mod buckets;
mod collect;
mod engine;
mod jobs;
mod local;
mod names;
mod pull;
mod push;
mod select;
mod transfer;

fn main() -> ExitCode {
    tool::run("ncaas-sync", async |tool, args: args::Args| args.run(tool).await)
}
