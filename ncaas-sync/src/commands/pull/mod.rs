//! `ncaas-sync pull`: download from a bucket into the io-dir.

mod job;
mod leftovers;
mod request;

use std::cell::RefCell;

use ncaas_core::bucket::Buckets;
use ncaas_core::emission_order::EmissionOrder;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::{DEFAULT_JOBS, PullArgs};

pub(crate) async fn pull(tool: Tool, args: PullArgs) -> Result<ExitStatus> {
    if let Some(target) = &args.target {
        let pipe = Pipe::for_args(tool, &args.pipe, 1);
        return pipe.source(async |output| request::pull(tool, target, &args, output).await).await;
    }
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET | ncaas-sync pull")?;
    let puller = job::Puller {
        buckets: Buckets::default(),
        io_dir: &args.io_dir.io_dir,
        reread: args.checksum.reread,
        transfers: RefCell::default(),
        cleared: RefCell::default(),
    };
    let pipe = Pipe { takes_errors: true, skips_pushed: true, ..Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS) };
    let order = EmissionOrder::default();
    let work = async |record: &mut Record, output: &Output| {
        let ticket = order.ticket(record.group());
        puller.pull(record).await?;
        ticket.wait_for_turn().await;
        // The next record waits until this one is written.
        output.emit(record).await;
        Ok(())
    };
    pipe.for_each(input, work).await
}
