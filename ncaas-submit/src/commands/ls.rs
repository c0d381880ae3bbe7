//! `ncaas-submit ls`: the submissions of a bucket with their states.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Buckets, ObjectInfo};
use ncaas_core::duration::format_age;
use ncaas_core::failure::{Kind, Result};
use ncaas_core::group::{check_groups, open_bucket};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::submission::{DatasetState, SubmissionFields, SubmissionState};
use ncaas_core::table::{Table, shows_table, terminal_height, terminal_width};
use ncaas_core::text::serialized_name;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::args::LsArgs;
use crate::bucket_job::{self, BucketJob};
use crate::job_state::JobFacts;
use crate::submission::{AllowedKeys, Name, Submission};
use crate::submit_files::SubmitFileLister;
use crate::watchers::dead_watchers::DeadWatchers;

/// How often `--watch` lists again.
const REFRESH: Duration = Duration::from_secs(2);

/// Moves the cursor to the top left of a terminal.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// The reasons of at most this many refused submissions are shown below the table.
const MAX_REFUSALS: usize = 5;

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
                let columns = ["JOB", "GROUP", "STATE", "DONE", "SUBMITTED", "OWNER"];
                let mut table = Table::new(&columns).with_optional_last().fit(terminal_width());
                let mut refused = Vec::new();
                list(tool, &bucket, &args, output, async |record, status| {
                    if shows_table {
                        table.push(row(&record, &status));
                        let id = record.job().unwrap_or_default().id;
                        refused.extend(status.reason.map(|reason| format!("`{id}` was refused: {reason}")));
                    } else if is_changed(&mut emitted, &record, args.watch) {
                        output.emit(&record).await;
                    }
                })
                .await?;
                if shows_table {
                    let table = table.to_string();
                    let shown = if args.watch { screen(&table, terminal_height()) } else { table };
                    output.write(shown.into_bytes()).await;
                }
                if !args.watch {
                    note_refusals(tool, &refused);
                    return Ok(());
                }
                sleep(REFRESH).await;
            }
        })
        .await
}

/// Reports why the newest refused submissions were refused.
fn note_refusals(tool: Tool, refused: &[String]) {
    let left_out = refused.len().saturating_sub(MAX_REFUSALS);
    if left_out > 0 {
        tool.note(&format!("{} refused; `--json` shows why", format_count(left_out, "older submission")));
    }
    refused[left_out..].iter().for_each(|refusal| tool.note(refusal));
}

/// A table in place of what a terminal of `height` lines shows: its header and its last lines, if it is too long.
fn screen(table: &str, height: usize) -> String {
    let lines: Vec<&str> = table.lines().collect();
    // In a narrow terminal, the header and each row have two lines. The cursor needs a line too.
    let header = if lines.get(1).is_some_and(|line| line.starts_with(' ')) { 2 } else { 1 };
    let left_out = lines.len().saturating_sub(height.saturating_sub(1)).next_multiple_of(header);
    let shown = lines.iter().take(header).chain(lines.iter().skip(header + left_out));
    let shown: String = shown.map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    format!("{HOME}{shown}{CLEAR_BELOW}")
}

/// Reads the submissions in the states that are asked for.
async fn list(
    tool: Tool,
    bucket: &Bucket,
    args: &LsArgs,
    output: &Output,
    mut handle: impl AsyncFnMut(Record, SubmissionFields),
) -> Result<()> {
    let mut lister = SubmitFileLister::new(tool, bucket, &args.group);
    lister.find_groups().await?;
    let buckets = Buckets::with(bucket);
    let lost = DeadWatchers::new(bucket);
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
        serialized_name(&status.state),
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
    lost: &DeadWatchers,
) -> Result<Option<(Record, SubmissionFields)>> {
    let group = entry.key.group().to_owned();
    let reach = AllowedKeys::everywhere(bucket.address(), &group);
    let Some(submission) = Submission::load(bucket, &entry.key, &reach).await? else { return Ok(None) };
    let job = BucketJob::for_submission(bucket, buckets, &entry, group, &submission).await?;
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

fn status(submission: &Submission, entry: &ObjectInfo, facts: &JobFacts) -> SubmissionFields {
    let names = submission.datasets.iter().map(Name::as_str).zip(1..);
    let jobs = names.map(|(dataname, dataset)| DatasetState {
        dataset,
        dataname: dataname.to_owned(),
        status: facts.dataset_status(dataset),
    });
    let state = facts.state();
    let reason = facts.find_error(Kind::BadSubmission).filter(|_| state == SubmissionState::Refused);
    SubmissionFields {
        state,
        submitted_at: Some(entry.modified),
        claimed_at: facts.claim.as_ref().map(|claim| claim.claimed_at),
        owner: facts.claim.as_ref().map(|claim| claim.owner.clone()),
        ended_at: facts.ended_at,
        // A refused submission has a record of no dataset.
        datasets_done: if reason.is_some() { 0 } else { facts.saved.len() as u64 },
        reason,
        jobs: jobs.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_long_for_the_screen_has_its_header_and_last_rows() {
        let rows = |table: &str, height: usize| {
            let shown = screen(table, height);
            let shown = shown.trim_start_matches(HOME).trim_end_matches(CLEAR_BELOW).to_owned();
            shown.lines().map(|line| line.trim_end_matches(CLEAR_LINE).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(rows("JOB  STATE\njob__1  a\njob__2  b\njob__3  c\n", 4), ["JOB  STATE", "job__2  b", "job__3  c"]);
        let stacked = "JOB\n  STATE\njob__1\n  a\njob__2\n  b\n";
        assert_eq!(rows(stacked, 6), ["JOB", "  STATE", "job__2", "  b"]);
        assert_eq!(rows(stacked, 50).len(), 6);
    }
}
