//! Waiting for the end of submissions, with a line about each change.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ncaas_core::bucket::Buckets;
use ncaas_core::certificate::{DatasetLine, DatasetStatus, UNKNOWN};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::dataset_labels;
use ncaas_core::outcome::{add_results_folder, outcome_line};
use ncaas_core::pipe::describe_interruption;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::record::submission::SubmissionState;
use ncaas_core::text::shell_line;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::bucket_job::{BucketJob, MACHINE_FIELDS, attempt_of};

/// How often a submission is read, which costs three requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// After how many readings a submission without a claim is reported.
const READINGS_WITHOUT_CLAIM: u32 = 3;

/// The submissions that are waited for.
#[derive(Default)]
pub(crate) struct WaitedSubmissions(RefCell<BTreeMap<String, BTreeSet<String>>>);

impl WaitedSubmissions {
    /// Waits for the end of a record's submission, reports each change, and returns the records of its datasets.
    pub(crate) async fn wait_for_end(&self, tool: Tool, record: &Record, buckets: &Buckets) -> Result<Vec<Record>> {
        let job = record.job().unwrap_or_default();
        let group = format!("{}/{}", job.bucket.unwrap_or_default(), job.group.unwrap_or_default());
        self.0.borrow_mut().entry(group.clone()).or_default().insert(job.id.clone());
        let ended = wait_for_end(tool, record, buckets).await;
        self.0.borrow_mut().entry(group).or_default().remove(&job.id);
        ended
    }

    /// Prints after an interruption how to wait again: the program that began the pipe, such as `send`, must not run
    /// again.
    pub(crate) fn note_interruption(&self, tool: Tool, status: ExitStatus) {
        let groups = self.0.borrow();
        for (group, jobs) in groups.iter().filter(|(_, jobs)| status.is_interrupted() && !jobs.is_empty()) {
            let words = ["ncaas-submit", "wait", group].into_iter().chain(jobs.iter().map(String::as_str));
            let (left, wait) = (format_count(jobs.len(), "submission"), shell_line(words));
            tool.note(&describe_interruption([format!("{left} still running"), format!("`{wait}` waits again")]));
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
        report_changes(tool, &job, has_ended, &mut reported).await?;
        if has_ended {
            return read_results(tool, record, &job).await;
        }
        readings += 1;
        if readings == READINGS_WITHOUT_CLAIM && claim::read(&job.bucket, &job.group, &job.id).await?.is_none() {
            let watch = shell_line(["ncaas-submit", "watch", job.bucket.address()]);
            tool.note(&format!("no watcher has claimed `{}`: a pipe that begins with `{watch}` runs its jobs", job.id));
        }
        sleep(INTERVAL).await;
    }
}

/// Reports the datasets whose status has changed. `reported` has the last status of each.
async fn report_changes(
    tool: Tool,
    job: &BucketJob,
    has_ended: bool,
    reported: &mut BTreeMap<usize, String>,
) -> Result<()> {
    let lines = job.results.certificate().await?;
    let claim = claim::read(&job.bucket, &job.group, &job.id).await?.map(|(claim, _)| claim);
    let attempt = claim.as_ref().map_or(1, |claim| claim.attempt);
    if !has_ended && attempt > 1 && claim.is_some_and(|claim| claim.is_free()) {
        // The lines are those of an earlier run until a watcher runs the submission again.
        return Ok(());
    }
    let names: Vec<&str> = lines.iter().map(|line| line.dataname.as_str()).collect();
    for ((number, line), label) in lines.iter().enumerate().zip(dataset_labels(&names)) {
        let status = DatasetStatus::from_name(&line.status);
        // A dataset that has not started is not reported.
        if status == Some(DatasetStatus::Initializing) || reported.get(&number) == Some(&line.status) {
            continue;
        }
        if matches!(status, Some(DatasetStatus::Success | DatasetStatus::Failed)) {
            let saved = job.results.saved_record(&label).await?;
            match saved.filter(|saved| attempt_of(saved) >= attempt) {
                // The failures of tools are reported at the end, each once.
                Some(record) => {
                    if let Some(mut outcome) = outcome_line(&record, Some(&job.results.log(&label))) {
                        add_results_folder(&mut outcome, &record, &job.results.folder(&record));
                        tool.note(&outcome);
                    }
                }
                // It comes after the certificate.
                None if !has_ended => continue,
                None => note_status(tool, &label, line),
            }
        } else {
            note_status(tool, &label, line);
        }
        reported.insert(number, line.status.clone());
    }
    Ok(())
}

fn note_status(tool: Tool, label: &str, line: &DatasetLine) {
    let output = Some(&line.last_command).filter(|output| *output != UNKNOWN);
    let output = output.map(|output| format!(" ({output})")).unwrap_or_default();
    tool.note(&format!("{label}: {}{output}", line.status.to_lowercase()));
}

async fn read_results(tool: Tool, record: &Record, job: &BucketJob) -> Result<Vec<Record>> {
    let saved = job.results.saved_records().await?;
    if saved.is_empty() {
        return platform_results(tool, record, job).await;
    }
    let mut records: Vec<Record> = saved.into_values().collect();
    report_errors(tool, &records);
    for record in &mut records {
        for field in MACHINE_FIELDS {
            record.remove(field);
        }
        record.set("outcome_reported", &true);
    }
    Ok(records)
}

/// Reports the failures of tools in the records of a submission: each once, with the dataset or the number of datasets.
fn report_errors(tool: Tool, records: &[Record]) {
    let mut datasets: BTreeMap<(String, Option<String>), (Kind, Vec<String>)> = BTreeMap::new();
    for record in records {
        if let Some(ErrorInfo { kind, message, hint, .. }) = record.error() {
            let (_, names) = datasets.entry((message, hint)).or_insert((kind, Vec::new()));
            names.extend(record.dataset_name());
        }
    }
    for ((message, hint), (kind, names)) in datasets {
        let subject = match names.as_slice() {
            [name] => format!("`{name}`"),
            names => format_count(names.len(), "dataset"),
        };
        tool.report_failure(&Failure { kind, message, hint }.context(subject));
    }
}

/// The record of a job without saved records, which the platform ran: its certificate and status files say how it
/// ended.
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
