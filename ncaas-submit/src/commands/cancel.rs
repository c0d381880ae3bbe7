//! `ncaas-submit cancel`: write a marker into the job's folder. Watchers emit a cancelled submission as such, and the stages
//! that see the bucket stop its running jobs.

use jiff::Timestamp;
use ncaas_core::cancellation;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::submission::State;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::json;

use crate::args::CancelArgs;
use crate::targets::{Buckets, read_targets};
use crate::watch::process::owner;

/// How many submissions are cancelled at once.
const AT_ONCE: usize = 8;

pub(crate) async fn cancel(tool: Tool, args: CancelArgs) -> Result<ExitStatus> {
    let usage = "ncaas-submit ls BUCKET --state running | ncaas-submit cancel";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    Pipe::for_args(tool, &args.pipe, AT_ONCE)
        .filter(input, async |record: &mut Record, _output: &Output| {
            let job = buckets.job_of_record(record).await?;
            if job.results.ended_at().await?.is_some() {
                return Err(Failure::new(Kind::Usage, format!("`{}` has already ended", job.id)));
            }
            let marker = json!({"cancelled_at": Timestamp::now(), "by": owner()});
            // The first marker stays.
            job.bucket.put_new(&cancellation::key(&job.group, &job.id)?, marker.to_string()).await?;
            record.set("state", &State::Cancelled);
            Ok(())
        })
        .await
}
