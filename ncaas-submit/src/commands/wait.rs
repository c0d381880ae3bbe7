//! `ncaas-submit wait`: wait until all jobs of a submission have ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ncaas_core::bucket::Buckets;
use ncaas_core::certificate::{DatasetStatus, UNKNOWN};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::submission::SubmissionState;
use ncaas_core::text::shell_line;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::args::WaitArgs;
use crate::bucket_job::{BucketJob, MACHINE_FIELDS};
use crate::targets::read_targets;

/// How often a submission is read, which costs two requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// After how many readings a submission without a claim is reported.
const READINGS_WITHOUT_CLAIM: u32 = 3;

/// How many submissions are waited for at once.
const AT_ONCE: usize = 1024;

pub(crate) async fn wait(tool: Tool, args: WaitArgs) -> Result<ExitStatus> {
    let usage = "ncaas-submit send BUCKET/GROUP ... | ncaas-submit wait";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    let waits = Waits::default();
    let status = Pipe { explains_interruption: true, ..Pipe::for_args(tool, &args.pipe, AT_ONCE) }
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

/// The submissions that are waited for.
#[derive(Default)]
pub(crate) struct Waits(RefCell<BTreeMap<String, BTreeSet<String>>>);

impl Waits {
    /// Waits for the end of a record's submission, reports each change, and returns the records of its datasets.
    pub(crate) async fn wait_for_end(&self, tool: Tool, record: &Record, buckets: &Buckets) -> Result<Vec<Record>> {
        let job = record.job().unwrap_or_default();
        let group = format!("{}/{}", job.bucket.unwrap_or_default(), job.group.unwrap_or_default());
        self.0.borrow_mut().entry(group.clone()).or_default().insert(job.id.clone());
        let ended = wait_for_end(tool, record, buckets).await;
        self.0.borrow_mut().entry(group).or_default().remove(&job.id);
        ended
    }

    /// Says after an interruption how to wait again: the program that began the pipe, such as `send`, must not run again.
    pub(crate) fn note_interruption(&self, tool: Tool, status: ExitStatus) {
        let groups = self.0.borrow();
        for (group, jobs) in groups.iter().filter(|(_, jobs)| status.is_interrupted() && !jobs.is_empty()) {
            let words = ["ncaas-submit", "wait", group].into_iter().chain(jobs.iter().map(String::as_str));
            let (what, go) = if jobs.len() == 1 { ("the submission", "goes") } else { ("the submissions", "go") };
            tool.note(&format!("interrupted: {what} {go} on; `{}` waits again", shell_line(words)));
        }
    }
}

async fn wait_for_end(tool: Tool, record: &Record, buckets: &Buckets) -> Result<Vec<Record>> {
    let mut reported = BTreeMap::new();
    let mut readings = 0;
    loop {
        // Found each time: where its results go is known only when a watcher has claimed it.
        let job = BucketJob::for_record(record, buckets).await?;
        let has_ended = job.results.ended_at().await?.is_some();
        report_changes(tool, &job, &mut reported).await?;
        if has_ended {
            return read_results(tool, record, &job).await;
        }
        readings += 1;
        if readings == READINGS_WITHOUT_CLAIM && claim::read(&job.bucket, &job.group, &job.id).await?.is_none() {
            let watch = shell_line(["ncaas-submit", "watch", job.bucket.address()]);
            tool.note(&format!("no watcher has claimed `{}`: `{watch}` runs its jobs", job.id));
        }
        sleep(INTERVAL).await;
    }
}

/// Reports the datasets whose status has changed. `reported` has the last status of each.
async fn report_changes(tool: Tool, job: &BucketJob, reported: &mut BTreeMap<usize, String>) -> Result<()> {
    for (number, line) in job.results.certificate().await?.into_iter().enumerate() {
        // A dataset that has not started is not reported.
        if line.status != DatasetStatus::Initializing.name()
            && reported.insert(number, line.status.clone()).as_ref() != Some(&line.status)
        {
            let output = Some(&line.last_command).filter(|output| *output != UNKNOWN);
            let output = output.map(|output| format!(" ({output})")).unwrap_or_default();
            tool.note(&format!("`{}`: {}{output}", line.dataname, line.status.to_lowercase()));
        }
    }
    Ok(())
}

async fn read_results(tool: Tool, record: &Record, job: &BucketJob) -> Result<Vec<Record>> {
    let saved = job.results.saved_records().await?;
    if saved.is_empty() {
        return platform_results(tool, record, job).await;
    }
    let mut records: Vec<Record> = saved.into_values().collect();
    for record in &mut records {
        for field in MACHINE_FIELDS {
            record.remove(field);
        }
        if let Some(error) = record.error() {
            tool.note(&error.message);
        }
    }
    Ok(records)
}

/// The record of a job without saved records, which the platform ran: its certificate and status files say how it ended.
async fn platform_results(tool: Tool, record: &Record, job: &BucketJob) -> Result<Vec<Record>> {
    let facts = job.facts().await?;
    let mut record = record.clone();
    record.set("state", &facts.state());
    if facts.state() == SubmissionState::Success {
        tool.note(&format!("`{}` has ended on the platform", job.id));
        return Ok(vec![record]);
    }
    let failed =
        facts.certificate.iter().find(|line| DatasetStatus::from_name(&line.status) == Some(DatasetStatus::Failed));
    let cause = failed.map(|line| format!(": `{}`: {}", line.dataname, line.last_command)).unwrap_or_default();
    let failure = Failure::new(Kind::JobFailed, format!("`{}` has failed on the platform{cause}", job.id));
    tool.report_failure(&failure);
    record.fail(tool.name(), &failure);
    Ok(vec![record])
}
