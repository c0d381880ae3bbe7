//! `ncaas-submit cancel`: a marker in the job's folder. No watcher hands the submission on any more; of what was handed
//! on, the next stage that sees the bucket stops it.

use jiff::Timestamp;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::CANCEL;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::json;

use crate::args::CancelArgs;
use crate::subject::Buckets;

pub(crate) async fn cancel(tool: Tool, args: CancelArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = args.subject.input(tool, "ncaas-submit ls BUCKET --state running | ncaas-submit cancel").await?;
    let buckets = Buckets::default();
    Pipe::new(tool, args.pipe.jobs_or(8))
        .filter(input, async |record: &mut Record, _output: &Output| {
            let job = buckets.job_of(record).await?;
            if job.results.ended_at().await?.is_some() {
                return Err(Failure::new(Kind::Usage, format!("`{}` has ended already", job.id)));
            }
            let marker = json!({"cancelled_at": Timestamp::now(), "by": crate::watch::owner()});
            // Twice is as good as once, and the first time stands.
            job.bucket.put_new(&job.key(CANCEL)?, marker.to_string()).await?;
            record.set("state", &"cancelled");
            Ok(())
        })
        .await
}
