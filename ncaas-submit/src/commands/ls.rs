//! `ncaas-submit ls`: the submissions of a bucket with their states.

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Bucket, Entry};
use ncaas_core::claim;
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::record::submission::{DatasetStatus, State, SubmissionRecord, SubmissionStatus};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::LsArgs;
use crate::bucket_job::{self, BucketJob, ResultsFolder};
use crate::group::{open_bucket, validate_group};
use crate::job_state::JobFacts;
use crate::submission::{self, Name, Reach, Submission};
use crate::submit_files::Lister;
use crate::watch::heartbeat::LostWatchers;

/// How many submissions are read at once.
const AT_ONCE: usize = 16;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<SubmissionRecord>().await;
    }
    for group in &args.group {
        validate_group(group)?;
    }
    let bucket = open_bucket(args.bucket.as_deref().unwrap_or_default()).await?;
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            let mut lister = Lister::new(tool, &bucket, &args.group);
            lister.find_groups().await?;
            let lost = LostWatchers::new(&bucket);
            while let Some(entries) = lister.next_page().await? {
                let records = stream::iter(entries).map(|entry| describe(&bucket, entry, &args.state, &lost));
                let mut records = records.buffered(AT_ONCE);
                while let Some(record) = records.next().await {
                    if let Some(record) = record? {
                        output.emit(&record).await;
                    }
                }
            }
            Ok(())
        })
        .await
}

/// The record of a submission; none where it is not in one of the states. No states stand for all.
async fn describe(bucket: &Bucket, entry: Entry, states: &[State], lost: &LostWatchers) -> Result<Option<Record>> {
    let group = entry.key.group().to_owned();
    let submission = match bucket.read(&entry.key, submission::MAX_SIZE).await {
        Ok((content, _)) => Submission::read(&content, &Reach::everywhere(bucket.address(), &group)),
        Err(failure) if failure.kind == Kind::ObjectNotFound => return Ok(None),
        Err(failure) if failure.kind.is_transient() => return Err(failure),
        Err(failure) => Submission::refused(failure.message),
    };
    let job = find_job(bucket, &entry, group, &submission).await?;
    let mut facts = job.facts().await?;
    if let Some(claim) = facts.claim.as_ref().filter(|_| facts.ended_at.is_none()) {
        facts.is_watcher_lost = lost.contain(&claim.watcher).await?;
    }
    if !states.is_empty() && !states.contains(&facts.state()) {
        return Ok(None);
    }
    let identity = Job {
        id: job.id,
        bucket: Some(bucket.address().to_owned()),
        group: Some(job.group),
        submission: Some(entry.key.as_str().to_owned()),
        timestamp: submission.timestamp.clone(),
        ..Job::default()
    };
    let mut record = submission.whole_record(&identity);
    record.set_fields(&status(&submission, &entry, &facts));
    Ok(Some(record))
}

/// The job of a submission.
async fn find_job(bucket: &Bucket, entry: &Entry, group: String, submission: &Submission) -> Result<BucketJob> {
    let id = submission.timestamp.as_deref().and_then(|timestamp| layout::job_id(bucket.name(), timestamp).ok());
    let own_id = || bucket_job::id_without_timestamp(bucket, &entry.key);
    let (id, result_path) = match id {
        // A submission whose timestamp was already used has a folder of its own.
        Some(id) => match claim::read(bucket, &group, &id).await? {
            Some((claim, _)) if claim.submission != entry.key.as_str() => (own_id(), None),
            _ => (id, submission.result_path.as_deref()),
        },
        None => (own_id(), submission.result_path.as_deref()),
    };
    let results = ResultsFolder::find(bucket, &group, &id, result_path).await?;
    Ok(BucketJob { bucket: bucket.clone(), group, id, results })
}

fn status(submission: &Submission, entry: &Entry, facts: &JobFacts) -> SubmissionStatus {
    let names = submission.datasets.iter().map(Name::as_str).zip(1..);
    let jobs = names.map(|(dataname, dataset)| DatasetStatus {
        dataset,
        dataname: dataname.to_owned(),
        status: facts.dataset_status(dataset),
    });
    SubmissionStatus {
        state: facts.state(),
        submitted_at: Some(entry.modified),
        claimed_at: facts.claim.as_ref().map(|claim| claim.claimed_at),
        owner: facts.claim.as_ref().map(|claim| claim.owner.clone()),
        ended_at: facts.ended_at,
        datasets_done: facts.saved.len() as u64,
        jobs: jobs.collect(),
    }
}
