//! Images of an analysis: from a Dockerfile, a base or a container, tagged by commit, to and from registries.

mod archive;
mod args;
mod base;
mod check;
mod commit;
mod credentials;
mod fields;
mod image;
mod layers;
mod local;
mod messages;
mod registry;
mod revision;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-build", async |tool, args: args::Args| args.run(tool).await)
}
