//! `ncaas-exec`: containers, from a shell in one to a hundred jobs in as many.

mod args;
mod detach;
mod diagnosis;
mod exec;
mod inside;
mod launch;
mod ls;
mod plan;
mod quantity;
mod rm;
mod run;
mod settings;
mod sharing;
mod shell;
mod start;
mod stop;
mod subject;
mod terminal;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    ncaas_core::tool::run("ncaas-exec", async |tool, args: args::Args| args.run(tool).await)
}
