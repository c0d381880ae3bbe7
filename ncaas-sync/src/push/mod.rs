//! `ncaas-sync push`: from the io-dir into a bucket.

mod end;
mod job;

use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::PushArgs;
use crate::buckets::Buckets;

/// How many jobs are worked on at once.
const AT_ONCE: usize = 8;

pub(crate) async fn push(tool: Tool, args: PushArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let buckets = Buckets::default();
    let input = Input::stdin(tool, "ncaas-sync collect | ncaas-sync push")?;
    let pipe = Pipe::new(tool, args.pipe.jobs_or(AT_ONCE)).takes_errors();
    pipe.filter(input, async |record: &mut Record, _| job::push(record, &buckets, &args.io_dir.io_dir).await).await
}
