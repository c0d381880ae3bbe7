//! `ncaas-sync pull`: from a bucket into the io-dir.

mod job;

use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PullArgs;
use crate::buckets::Buckets;

/// How many jobs are worked on at once.
const AT_ONCE: usize = 8;

pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let buckets = Buckets::default();
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET | ncaas-sync pull")?;
    let pipe = Pipe::new(tool, args.pipe.jobs_or(AT_ONCE));
    pipe.filter(input, async |record: &mut Record, _| job::bring(record, &buckets, &args.io_dir.io_dir).await).await
}
