//! `ncaas-submit retry`: a new attempt at a submission that has ended, was cancelled, or was left by its watcher.

use ncaas_core::bucket::{Buckets, Key};
use ncaas_core::cancellation;
use ncaas_core::certificate::DatasetStatus;
use ncaas_core::claim::{self, Claim};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::submission::SubmissionState;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RetryArgs;
use crate::bucket_job::BucketJob;
use crate::submission;
use crate::targets::read_targets;

/// How many submissions are worked on at once.
const AT_ONCE: usize = 8;

pub(crate) async fn retry(tool: Tool, args: RetryArgs) -> Result<ExitStatus> {
    let usage = "ncaas-submit ls BUCKET --state failed | ncaas-submit retry";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    Pipe::for_args(tool, &args.pipe, AT_ONCE)
        .filter(input, async |record: &mut Record, _output: &Output| {
            let job = BucketJob::for_record(record, &buckets).await?;
            let submission = record.job().and_then(|job| job.submission);
            let before = job.results.certificate().await?;
            start_attempt(&job, submission, args.force).await?;
            let succeeded = before.iter().filter(|entry| entry.has_status(DatasetStatus::Success)).count();
            if succeeded > 0 {
                let datasets = format_count(before.len(), "dataset");
                tool.note(&format!("`{}`: {datasets} will run again, of which {succeeded} had succeeded", job.id));
            }
            record.set("state", &SubmissionState::Waiting);
            Ok(())
        })
        .await
}

/// Starts a new attempt. The order of the steps matters: after a kill at any point, the same command does the rest.
async fn start_attempt(job: &BucketJob, submission: Option<String>, force: bool) -> Result<()> {
    let key = claim::key(&job.group, &job.id)?;
    let old = claim::read(&job.bucket, &job.group, &job.id).await?;
    let claimed = old.as_ref().map(|(claim, _)| claim).filter(|claim| !claim.submission.is_empty());
    let submission = claimed.map(|claim| claim.submission.clone()).or(submission).ok_or_else(|| {
        let message = format!("cannot retry `{}`: no watcher has claimed a submission with this id", job.id);
        Failure::new(Kind::ObjectNotFound, message)
    })?;
    let has_ended = job.results.ended_at().await?.is_some();
    let is_over = has_ended || job.is_cancelled().await?;
    let is_running = match &old {
        Some((claim, _)) => !claim.is_free(),
        // The platform runs it.
        None => job.results.has_foreign_certificate().await?,
    };
    if is_running && !is_over && !force {
        return Err(Failure::new(Kind::Usage, format!("`{}` has not ended", job.id)).hint(
            "the jobs of a dead watcher are taken over automatically; `--force` takes a job from a running watcher",
        ));
    }
    // Read first: without its submit file it cannot be run again, and then nothing is removed.
    let submit_key = Key::new(submission.as_str())?;
    let (content, _) = job.bucket.read(&submit_key, submission::MAX_SIZE).await?;
    // The attempt of a retry that no watcher has run.
    let unclaimed = old.as_ref().map(|(claim, _)| claim).filter(|claim| claim.is_free()).map(|claim| claim.attempt);
    let attempt = old.as_ref().map_or(1, |(claim, _)| claim.attempt) + 1;
    let number = old.as_ref().map_or(0, |(claim, _)| claim.number) + 1;
    let free = Claim::free(&submission, attempt, number).to_bytes();
    let freed = match old {
        Some((_, version)) => job.bucket.put_if(&key, free, &version).await?,
        None => job.bucket.put_new(&key, free).await?,
    };
    if freed.is_none() {
        return Err(Failure::new(Kind::Usage, format!("`{}` was claimed by a watcher just now", job.id)));
    }
    job.bucket.delete(&cancellation::key(&job.group, &job.id)?).await?;
    job.results.remove_end().await?;
    // The records of a complete run stay until the next one starts: `cancel` may come first.
    let earlier = job.results.earlier_attempt(attempt).await?;
    let is_complete = earlier.is_some_and(|earlier| has_ended || unclaimed.is_some_and(|retried| earlier < retried));
    if !is_complete {
        job.results.remove_run().await?;
    }
    // Written again unchanged, so that watchers are notified as of a new submission.
    job.bucket.put(&submit_key, content).await
}
