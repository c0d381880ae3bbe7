//! `ncaas-sync push`: upload from the io-dir to a bucket.

mod fence;
mod job;
mod stop_cancelled;

use std::cell::RefCell;
use std::path::Path;

use ncaas_core::bucket::Buckets;
use ncaas_core::failure::Result;
use ncaas_core::files;
use ncaas_core::folder::Folder;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use ncaas_core::transfer::Transfer;

use crate::args::{DEFAULT_FILES, DEFAULT_JOBS, PushArgs};
use crate::bucket_prefix::BucketPrefix;
use crate::tree_transfer::{Direction, Tree};
use stop_cancelled::CancelledJobs;

pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if let (Some(folder), Some(target)) = (&args.folder, &args.target) {
        let target = BucketPrefix::parse_with_folder(target, folder)?;
        let pipe = Pipe::for_args(tool, &args.pipe, 1);
        return pipe.source(async |output| push_folder(tool, folder, &target, &args, output).await).await;
    }
    let input = Input::stdin(tool, "ncaas-sync collect | ncaas-sync push")?;
    let pusher = job::Pusher {
        tool,
        buckets: Buckets::default(),
        running: CancelledJobs::new(tool),
        io_dir: &args.io_dir.io_dir,
        files: args.files,
        counts: job::PushedJobs::default(),
        completed: RefCell::default(),
        failed: RefCell::default(),
    };
    let pipe = Pipe { takes_errors: true, ..Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS) };
    let work = async |record: &mut Record, output: &Output| {
        let pushed = pusher.push(record, output).await;
        if let Err(failure) = &pushed
            && let Err(unwritten) = job::retry_later(record, failure)
        {
            let name = record.job().map(|job| job.id).unwrap_or_default();
            tool.report_failure(&unwritten.context(format!("cannot request the record of `{name}` again")));
        }
        pushed
    };
    let pushing = pipe.filter_then(input, work, |output| pusher.report_without_bucket(output));
    tokio::select! {
        biased;
        status = pushing => status,
        never = pusher.running.stop_cancelled(&pusher.buckets) => never,
    }
}

/// Uploads a folder to a prefix and writes the outcome to `output`.
async fn push_folder(tool: Tool, folder: &Path, target: &BucketPrefix, args: &PushArgs, output: &Output) -> Result<()> {
    let bucket = target.open().await?;
    let folder = Folder::open(&files::absolute(folder)?)?;
    let transfer = Transfer::new(bucket, folder, &target.prefix, args.checksum.reread);
    let tree = Tree { tool, transfer: &transfer, prefix: &target.prefix, direction: Direction::Upload };
    output
        .emit(&Record::new(&tree.run(args.pipe.jobs_or(DEFAULT_FILES), args.delete, args.files, output).await?))
        .await;
    Ok(())
}
