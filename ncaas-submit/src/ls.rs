//! `ncaas-submit ls`: the submissions of a bucket, and how they stand.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Entry};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout;
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::tool::{ExitStatus, Tool};
use serde::Serialize;

use crate::args::LsArgs;
use crate::job::{self, BucketJob, Folder, Standing, State};
use crate::submission::{self, Name, Reach, Submission};
use crate::watch::{Lister, check_group, id_of_refused};

/// How many submissions are looked into at once.
const AT_ONCE: usize = 16;

/// How one dataset of a submission stands.
#[derive(Debug, Serialize)]
struct JobStanding {
    dataset: u64,
    dataname: String,
    /// As the certificate says while it runs, then as its record says.
    status: String,
}

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    for group in &args.group {
        check_group(group)?;
    }
    let bucket = Bucket::open(&args.bucket).await?;
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            let mut lister = Lister::new(tool, &bucket, &args.group);
            lister.find_groups().await?;
            while let Some(entries) = lister.page().await? {
                let mut records =
                    stream::iter(entries).map(|entry| look(&bucket, entry, &args.state)).buffered(AT_ONCE);
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

/// The record of a submission that is in one of the states, or in any where none is asked for.
async fn look(bucket: &Bucket, entry: Entry, states: &[State]) -> Result<Option<Record>> {
    let group = entry.key.group().to_owned();
    let submission = match bucket.read(&entry.key, submission::LARGEST).await {
        Ok((content, _)) => Submission::read(&content, &Reach::everywhere(bucket.address(), &group)),
        Err(failure) if failure.kind == Kind::ObjectNotFound => return Ok(None),
        Err(failure) if failure.kind.is_transient() => return Err(failure),
        Err(failure) => Submission::refused(failure.message),
    };
    let id = submission.timestamp.as_deref().map(|timestamp| layout::job_id(bucket.name(), timestamp));
    let id = id.and_then(Result::ok).unwrap_or_else(|| id_of_refused(bucket, &entry.key));
    let mut of = BucketJob {
        results: Folder::of(bucket, &group, &id, submission.result_path.as_deref()).await?,
        bucket: bucket.clone(),
        group,
        id,
    };
    // A submission whose timestamp another had first has a folder of its own.
    if of.claim().await?.is_some_and(|claim| claim.submission != entry.key.as_str()) {
        of.id = id_of_refused(bucket, &entry.key);
        of.results = Folder::of(bucket, &of.group, &of.id, None).await?;
    }
    let standing = of.standing().await?;
    if !states.is_empty() && !states.contains(&standing.state) {
        return Ok(None);
    }
    let job = Job {
        id: of.id,
        bucket: Some(bucket.address().to_owned()),
        group: Some(of.group),
        submission: Some(entry.key.as_str().to_owned()),
        timestamp: submission.timestamp.clone(),
        ..Job::default()
    };
    Ok(Some(describe(submission.whole_record(&job), &submission, entry.modified, &standing)))
}

fn describe(mut record: Record, submission: &Submission, submitted_at: Timestamp, standing: &Standing) -> Record {
    record.set("state", &standing.state);
    record.set("submitted_at", &submitted_at);
    record.set("claimed_at", &standing.claim.as_ref().map(|claim| claim.claimed_at));
    record.set("owner", &standing.claim.as_ref().map(|claim| claim.owner.as_str()));
    record.set("ended_at", &standing.ended_at);
    record.set("datasets_done", &standing.saved.len());
    let statuses: BTreeMap<u64, String> =
        standing.saved.iter().map(|(dataset, record)| (*dataset, job::status_of(record))).collect();
    let jobs: Vec<JobStanding> = submission
        .datasets
        .iter()
        .map(Name::as_str)
        .zip(1..)
        .map(|(dataname, dataset)| JobStanding {
            dataset,
            dataname: dataname.to_owned(),
            status: statuses.get(&dataset).cloned().unwrap_or_else(|| of_running(dataset, standing)),
        })
        .collect();
    record.set("jobs", &jobs);
    record
}

fn of_running(dataset: u64, standing: &Standing) -> String {
    let at = usize::try_from(dataset).unwrap_or(usize::MAX).saturating_sub(1);
    match standing.certificate.get(at) {
        Some(line) => line.status.to_lowercase().replace(' ', "-"),
        None if standing.ended_at.is_some() => "not-run".to_owned(),
        None => "waiting".to_owned(),
    }
}
