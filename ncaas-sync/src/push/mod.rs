//! `ncaas-sync push`: from the io-dir into a bucket.

mod end;
mod job;
mod tree;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PushArgs;
use crate::buckets::Buckets;
use crate::place::Place;

/// How many jobs are worked on at once.
const JOBS_AT_ONCE: usize = 8;
/// How many files of a tree, or of a job, are on their way at once.
const FILES_AT_ONCE: usize = 64;

pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    if let (Some(folder), Some(target)) = (&args.folder, &args.target) {
        let place = Place::parse(target)?;
        let how = tree::How {
            jobs: args.pipe.jobs_or(FILES_AT_ONCE),
            delete: args.delete,
            reread: args.checksum.on,
            files: args.files,
        };
        let pipe = Pipe::new(tool, 1);
        return pipe.source(async |output| tree::push(tool, folder, &place, how, output).await).await;
    }
    let input = Input::stdin(tool, "ncaas-sync collect | ncaas-sync push")?;
    let pushing = job::Pushing {
        tool,
        buckets: Buckets::default(),
        engine: LazyEngine::default(),
        io_dir: &args.io_dir.io_dir,
        files: args.files,
    };
    let pipe = Pipe::new(tool, args.pipe.jobs_or(JOBS_AT_ONCE)).takes_errors();
    pipe.filter(input, async |record: &mut Record, output: &Output| pushing.push(record, output).await).await
}
