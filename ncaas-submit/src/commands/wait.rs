//! `ncaas-submit wait`: wait until all jobs of a submission have ended.

use ncaas_core::bucket::Buckets;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::WaitArgs;
use crate::targets::read_targets;
use crate::waited_submissions::WaitedSubmissions;

/// How many submissions are waited for at once.
const AT_ONCE: usize = 1024;

pub(crate) async fn wait(tool: Tool, args: WaitArgs) -> Result<ExitStatus> {
    let usage = "ncaas-submit send BUCKET/GROUP ... | ncaas-submit wait";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    let waits = WaitedSubmissions::default();
    let pipe = Pipe::for_args(tool, &args.pipe, AT_ONCE);
    let status = Pipe { explains_interruption: true, notes_only: !tool.is_quiet(), ..pipe }
        .for_each(input, async |record: &mut Record, output: &Output| {
            for ended in waits.wait_for_end(tool, record, &buckets).await? {
                output.emit(&ended).await;
            }
            Ok(())
        })
        .await?;
    waits.note_interruption(tool, status);
    Ok(status)
}
