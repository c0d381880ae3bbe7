//! `ncaas-submit ls`: the submissions of a bucket with their states.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Buckets, ObjectInfo};
use ncaas_core::claim;
use ncaas_core::failure::Result;
use ncaas_core::layout;
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_age;
use ncaas_core::record::Record;
use ncaas_core::record::submission::{DatasetState, SubmissionFields, SubmissionState};
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::text::word;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::args::LsArgs;
use crate::bucket_job::{self, BucketJob, ResultsFolder};
use crate::group::{check_groups, open_bucket};
use crate::job_state::JobFacts;
use crate::submission::{Name, Reach, Submission};
use crate::submit_files::Lister;
use crate::watch::lost_watchers::LostWatchers;

/// How often `--watch` lists again.
const REFRESH: Duration = Duration::from_secs(2);

/// Moves the cursor to the top left of a terminal and clears it.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// How many submissions are read at once.
const AT_ONCE: usize = 16;

pub(crate) async fn ls(tool: Tool, args: LsArgs) -> Result<ExitStatus> {
    let bucket = open_bucket(&args.bucket).await?;
    check_groups(&bucket, &args.group, false).await?;
    let shows_table = shows_table(args.records.json);
    Pipe::for_records(tool, &args.records)
        .source(async |output: &Output| {
            let mut emitted: HashMap<String, Vec<u8>> = HashMap::new();
            loop {
                let mut table =
                    Table::new(&["JOB", "GROUP", "STATE", "DONE", "SUBMITTED", "OWNER"]).fit(terminal_width());
                list(tool, &bucket, &args, output, async |record, status| {
                    if shows_table {
                        table.push(row(&record, &status));
                    } else if is_changed(&mut emitted, &record, args.watch) {
                        output.emit(&record).await;
                    }
                })
                .await?;
                if shows_table {
                    let clear = if args.watch { CLEAR_SCREEN } else { "" };
                    output.write(format!("{clear}{table}").into_bytes()).await;
                }
                if !args.watch {
                    return Ok(());
                }
                sleep(REFRESH).await;
            }
        })
        .await
}

/// Reads the submissions in the states that are asked for.
async fn list(
    tool: Tool,
    bucket: &Bucket,
    args: &LsArgs,
    output: &Output,
    mut handle: impl AsyncFnMut(Record, SubmissionFields),
) -> Result<()> {
    let mut lister = Lister::new(tool, bucket, &args.group);
    lister.find_groups().await?;
    let buckets = Buckets::with(bucket);
    let lost = LostWatchers::new(bucket);
    while let Some(entries) = lister.next_page().await? {
        let described = stream::iter(entries).map(async |entry| {
            let key = entry.key.clone();
            (key, describe(bucket, &buckets, entry, &args.state, &lost).await)
        });
        let mut described = described.buffered(AT_ONCE);
        while let Some((key, described)) = described.next().await {
            match described {
                Ok(Some((record, status))) => handle(record, status).await,
                Ok(None) => {}
                Err(failure) if bucket.is_about_one_object(&failure) => {
                    output.note_failure(&failure);
                    tool.report_failure(&failure.context(format!("`{key}`")));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(())
}

/// Whether a record differs from the one that was emitted last. Without `--watch` each is emitted once.
fn is_changed(emitted: &mut HashMap<String, Vec<u8>>, record: &Record, is_watching: bool) -> bool {
    let line = record.to_line();
    let name = record.job().and_then(|job| job.submission).unwrap_or_default();
    !is_watching || emitted.insert(name, line.clone()) != Some(line)
}

fn row(record: &Record, status: &SubmissionFields) -> [String; 6] {
    let job = record.job().unwrap_or_default();
    let age = status.submitted_at.map(|time| Timestamp::now().duration_since(time));
    [
        job.id,
        job.group.unwrap_or_default(),
        word(&status.state),
        format!("{}/{}", status.datasets_done, status.jobs.len()),
        age.map(|age| format!("{} ago", format_age(age.as_secs()))).unwrap_or_default(),
        status.owner.clone().unwrap_or_default(),
    ]
}

/// The record of a submission; none if it is not in one of the states. No states stand for all.
async fn describe(
    bucket: &Bucket,
    buckets: &Buckets,
    entry: ObjectInfo,
    states: &[SubmissionState],
    lost: &LostWatchers,
) -> Result<Option<(Record, SubmissionFields)>> {
    let group = entry.key.group().to_owned();
    let reach = Reach::everywhere(bucket.address(), &group);
    let Some(submission) = Submission::load(bucket, &entry.key, &reach).await? else { return Ok(None) };
    let job = find_job(bucket, buckets, &entry, group, &submission).await?;
    let mut facts = job.facts().await?;
    if let Some(claim) = facts.claim.as_ref().filter(|_| facts.ended_at.is_none()) {
        facts.is_watcher_lost = lost.contain(&claim.watcher).await?;
    }
    if !states.is_empty() && !states.contains(&facts.state()) {
        return Ok(None);
    }
    let identity = bucket_job::submitted_job(bucket, &entry.key, job.id, submission.timestamp.clone());
    let mut record = submission.whole_record(&identity);
    let status = status(&submission, &entry, &facts);
    record.merge(&status);
    Ok(Some((record, status)))
}

async fn find_job(
    bucket: &Bucket,
    buckets: &Buckets,
    entry: &ObjectInfo,
    group: String,
    submission: &Submission,
) -> Result<BucketJob> {
    let id = submission.timestamp.as_deref().and_then(|timestamp| layout::job_id(bucket.name(), timestamp).ok());
    let own_id = || bucket_job::id_without_timestamp(bucket, &entry.key);
    let (id, result_path) = match id {
        // A submission whose timestamp was already used has another folder.
        Some(id) => match claim::read(bucket, &group, &id).await? {
            Some((claim, _)) if claim.submission != entry.key.as_str() => (own_id(), None),
            _ => (id, submission.result_path.as_deref()),
        },
        None => (own_id(), submission.result_path.as_deref()),
    };
    let results = ResultsFolder::find(buckets, bucket, &group, &id, result_path).await?;
    Ok(BucketJob { bucket: bucket.clone(), group, id, results })
}

fn status(submission: &Submission, entry: &ObjectInfo, facts: &JobFacts) -> SubmissionFields {
    let names = submission.datasets.iter().map(Name::as_str).zip(1..);
    let jobs = names.map(|(dataname, dataset)| DatasetState {
        dataset,
        dataname: dataname.to_owned(),
        status: facts.dataset_status(dataset),
    });
    SubmissionFields {
        state: facts.state(),
        submitted_at: Some(entry.modified),
        claimed_at: facts.claim.as_ref().map(|claim| claim.claimed_at),
        owner: facts.claim.as_ref().map(|claim| claim.owner.clone()),
        ended_at: facts.ended_at,
        datasets_done: facts.saved.len() as u64,
        jobs: jobs.collect(),
    }
}
