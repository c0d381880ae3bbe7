//! `ncaas-submit retry`: a new attempt at a submission that has ended, was cancelled, or was left by its watcher.

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::CANCEL;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::RetryArgs;
use crate::claim::{self, Claim};
use crate::job::BucketJob;
use crate::subject::Buckets;
use crate::submission;

pub(crate) async fn retry(tool: Tool, args: RetryArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = args.subject.input(tool, "ncaas-submit ls BUCKET --state failed | ncaas-submit retry").await?;
    let buckets = Buckets::default();
    Pipe::new(tool, args.pipe.jobs_or(8))
        .filter(input, async |record: &mut Record, _output: &Output| {
            let job = buckets.job_of(record).await?;
            let submission = record.job().and_then(|job| job.submission);
            again(&job, submission, args.force).await?;
            record.set("state", &"waiting");
            Ok(())
        })
        .await
}

/// Begins a new attempt. The order matters: killed at any point, the same again does the rest.
async fn again(job: &BucketJob, submission: Option<String>, force: bool) -> Result<()> {
    let key = claim::key(&job.group, &job.id)?;
    let (old, version) = match job.bucket.read(&key, claim::LARGEST).await {
        Ok((content, version)) => (serde_json::from_slice::<Claim>(&content).ok(), Some(version)),
        Err(failure) if failure.kind == Kind::ObjectNotFound => (None, None),
        Err(failure) => return Err(failure),
    };
    let submission = old.as_ref().map(|claim| claim.submission.clone()).or(submission).ok_or_else(|| {
        Failure::new(Kind::ObjectNotFound, format!("no watcher has had `{}`, so there is nothing to retry", job.id))
    })?;
    let is_over = job.results.ended_at().await?.is_some() || job.cancelled_at().await?.is_some();
    if !is_over && !force && old.as_ref().is_some_and(|claim| !claim.is_free()) {
        return Err(Failure::new(Kind::Usage, format!("`{}` has not ended", job.id))
            .hint("a watcher that has died is replaced by itself; `--force` takes the job away from one that lives"));
    }
    // Read first: without its submit file nothing can be taken up again, and then nothing is removed.
    let submit_key = Key::new(submission.as_str())?;
    let (content, _) = job.bucket.read(&submit_key, submission::LARGEST).await?;
    let attempt = old.as_ref().map_or(1, |claim| claim.attempt) + 1;
    let free = Claim::free(&submission, attempt).to_bytes();
    let freed = match version {
        Some(version) => job.bucket.put_if(&key, free, &version).await?,
        None => job.bucket.put_new(&key, free).await?,
    };
    if freed.is_none() {
        return Err(Failure::new(Kind::Usage, format!("`{}` was taken up by a watcher just now", job.id)));
    }
    job.bucket.delete(&job.key(CANCEL)?).await?;
    job.results.forget_the_end().await?;
    announce(&job.bucket, &submit_key, content).await
}

/// Writes the submit file as it is, so that watchers hear of it as of a new one.
async fn announce(bucket: &Bucket, key: &Key, content: Vec<u8>) -> Result<()> {
    bucket.put(key, content).await
}
