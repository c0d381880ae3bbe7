//! `ncaas-sync push`: upload from the io-dir to a bucket.

mod end;
mod fence;
mod job;
mod tree;

use ncaas_core::engine::LazyEngine;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PushArgs;
use crate::bucket_prefix::BucketPrefix;
use crate::buckets::Buckets;

/// Jobs that are pushed at once.
const DEFAULT_JOBS: usize = 8;
/// Files of a tree, or of a job, that are uploaded at once.
const DEFAULT_FILES: usize = 64;

pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if let (Some(folder), Some(target)) = (&args.folder, &args.target) {
        let target = BucketPrefix::parse(target)?;
        let pipe = Pipe::new(tool, 1);
        return pipe.source(async |output| tree::push(tool, folder, &target, &args, output).await).await;
    }
    let input = Input::stdin(tool, "ncaas-sync collect | ncaas-sync push")?;
    let pusher = job::Pusher {
        tool,
        buckets: Buckets::default(),
        engine: LazyEngine::default(),
        io_dir: &args.io_dir.io_dir,
        files: args.files,
        counts: job::Counts::default(),
    };
    let pipe = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS).takes_errors().skips_pushed();
    let work = async |record: &mut Record, output: &Output| pusher.push(record, output).await;
    pipe.filter_then(input, work, |output| pusher.report_without_bucket(output)).await
}
