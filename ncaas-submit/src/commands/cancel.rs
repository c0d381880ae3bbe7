//! `ncaas-submit cancel`: write a marker into the job's folder. Watchers emit a cancelled submission as such, and the
//! stages that see the bucket stop its running jobs.

use jiff::Timestamp;
use ncaas_core::bucket::Buckets;
use ncaas_core::cancellation;
use ncaas_core::certificate::DatasetStatus;
use ncaas_core::claim::{self, Claim};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::submission::SubmissionState;
use ncaas_core::tool::{ExitStatus, Tool};
use serde_json::json;

use crate::args::CancelArgs;
use crate::bucket_job::BucketJob;
use crate::targets::read_targets;
use crate::watchers::dead_watchers::DeadWatchers;
use crate::watchers::process::owner;

/// How many submissions are cancelled at once.
const AT_ONCE: usize = 8;

pub(crate) async fn cancel(tool: Tool, args: CancelArgs) -> Result<ExitStatus> {
    let usage = "ncaas-submit ls BUCKET --state running | ncaas-submit cancel";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    Pipe::for_args(tool, &args.pipe, AT_ONCE)
        .filter(input, async |record: &mut Record, _output: &Output| {
            let job = BucketJob::for_record(record, &buckets).await?;
            if job.results.ended_at().await?.is_some() {
                return Err(Failure::new(Kind::Usage, format!("`{}` has already ended", job.id)));
            }
            if undo_retry(&job).await? {
                record.set("state", &job.facts().await?.state());
                tool.note(&format!("`{}`: its retry is cancelled; the results of the earlier run stay", job.id));
                return Ok(());
            }
            let marker = json!({"cancelled_at": Timestamp::now(), "by": owner()});
            // The first marker stays.
            job.bucket.put_new(&cancellation::key(&job.group, &job.id)?, marker.to_string()).await?;
            record.set("state", &SubmissionState::Cancelled);
            // The submission is cancelled, whether or not its jobs can be counted.
            if let Ok(Some(note)) = describe_running_jobs(&job).await {
                tool.note(&note);
            }
            Ok(())
        })
        .await
}

/// Gives a submission that was to run again, and that no watcher has claimed yet, the end of its earlier run back.
/// False if there is none.
async fn undo_retry(job: &BucketJob) -> Result<bool> {
    let Some((claim, version)) = claim::read(&job.bucket, &job.group, &job.id).await? else { return Ok(false) };
    let earlier = if claim.is_free() { job.results.earlier_attempt(claim.attempt).await? } else { None };
    let Some(attempt) = earlier else { return Ok(false) };
    // Watchers find the records of this attempt complete. A claim that has changed is one of a watcher that runs the
    // jobs.
    let restored = Claim::free(&claim.submission, attempt, claim.number + 1).to_bytes();
    if job.bucket.put_if(&claim::key(&job.group, &job.id)?, restored, &version).await?.is_none() {
        return Ok(false);
    }
    job.results.restore_end().await.map(|()| true)
}

/// A note about the jobs of a cancelled submission that still run. `None` if none runs.
async fn describe_running_jobs(job: &BucketJob) -> Result<Option<String>> {
    let certificate = job.results.certificate().await?;
    let running = certificate.iter().filter(|line| line.has_status(DatasetStatus::InProgress)).count();
    if running == 0 {
        return Ok(None);
    }
    let claim = claim::read(&job.bucket, &job.group, &job.id).await?.map(|(claim, _)| claim);
    let is_lost = match claim.filter(|claim| !claim.is_free()) {
        Some(claim) => DeadWatchers::new(&job.bucket).contain(&claim.watcher).await?,
        None => true,
    };
    let when = if is_lost { "when it is started again" } else { "within a few seconds, if it runs" };
    let jobs = format_count(running, "running job");
    Ok(Some(format!("`{}`: the pipe stops {jobs} {when}", job.id)))
}
