//! `ncaas-sync pull`: from a bucket into the io-dir.

mod job;
mod request;
mod tree;

use std::cell::RefCell;
use std::collections::HashMap;

use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PullArgs;
use crate::buckets::Buckets;

/// How many jobs are worked on at once.
const JOBS_AT_ONCE: usize = 8;
/// How many files of a tree are on their way at once.
const FILES_AT_ONCE: usize = 64;

pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    if let Some(target) = &args.target {
        let pipe = Pipe::new(tool, 1);
        return pipe.source(async |output| request::bring(tool, target, &args, output).await).await;
    }
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET | ncaas-sync pull")?;
    let bringing = job::Bringing {
        buckets: Buckets::default(),
        io_dir: &args.io_dir.io_dir,
        reread: args.checksum.on,
        transfers: RefCell::new(HashMap::new()),
    };
    let pipe = Pipe::new(tool, args.pipe.jobs_or(JOBS_AT_ONCE));
    pipe.filter(input, async |record: &mut Record, _| bringing.bring(record).await).await
}
