//! Images of an analysis: from a Dockerfile, a base or a container, tagged by commit, to and from registries.

mod args;
mod base;
mod check;
mod commit;
mod credentials;
mod fields;
mod image;
mod layers;
mod load;
mod ls;
mod messages;
mod name;
mod pull;
mod push;
mod registry;
mod revision;
mod rm;
mod save;
mod tag;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-build", async |tool, args: args::Args| args.run(tool).await)
}
