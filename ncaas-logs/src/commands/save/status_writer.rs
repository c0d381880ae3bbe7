//! Writes a job's status file and its line in the certificate.

use std::ops::RangeInclusive;

use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;
use ncaas_core::certificate::{DatasetEntry, DatasetStatus, datasets_of_record};
use ncaas_core::engine::container::{engine_error, time_limit};
use ncaas_core::failure::Result;
use ncaas_core::outcome::describe_end;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Status, StoppedBy};
use ncaas_core::status_file::StatusFile;
use ncaas_core::text::shell_line;
use serde_json::Value;

use super::certificates::{CertificateChange, Certificates};
use super::output_excerpt::OutputExcerpt;
use super::submission::RecordedSubmission;
use crate::job_files::JobFiles;
use crate::usage::Sample;

/// The facts about a job that do not change while it runs.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    pub(crate) files: JobFiles,
    certificates: Certificates,
    submission: RecordedSubmission,
    number: usize,
    /// The datasets that the record is about.
    numbers: RangeInclusive<usize>,
    dataname: String,
    command: String,
    limit: Option<u64>,
    /// The engine's message if it could not start the job.
    engine_error: Option<String>,
}

/// The state of a job at this moment.
#[derive(Debug, Default)]
pub(crate) struct JobProgress<'a> {
    pub(crate) container: Option<&'a Container>,
    pub(crate) sample: Option<&'a Sample>,
    /// The message of a tool that failed.
    pub(crate) failure: Option<&'a str>,
}

impl StatusWriter {
    pub(crate) fn new(
        record: &Record,
        files: JobFiles,
        inspected: Option<&ContainerInspectResponse>,
        certificates: &Certificates,
    ) -> Self {
        let (submission, number) = certificates.submit_files.submission_of_record(record);
        let dataname = record.dataname().map(|names| names.names().join(", ")).unwrap_or_default();
        let command = match inspected {
            Some(inspected) => inspected.path.iter().chain(inspected.args.iter().flatten()).cloned().collect(),
            None => record.fields().ok().and_then(|known| known.command).unwrap_or_default(),
        };
        StatusWriter {
            files,
            certificates: certificates.clone(),
            submission,
            number,
            numbers: datasets_of_record(record),
            dataname,
            command: shell_line(&command),
            limit: inspected.and_then(time_limit),
            engine_error: inspected.and_then(engine_error).map(str::to_owned),
        }
    }

    /// Writes the status file, and this dataset's line in the certificate.
    pub(crate) async fn write(&self, progress: &JobProgress<'_>, excerpt: &OutputExcerpt) -> Result<()> {
        let status = dataset_status(progress);
        let container = progress.container;
        let started = container.and_then(|container| container.started_at.as_deref());
        let finished = container.and_then(|container| container.finished_at.as_deref());
        let log_name = self.files.log.file_name().unwrap_or_default().to_string_lossy();
        let status_file = StatusFile {
            instance: container.map_or("", |container| &container.id),
            command: &self.command,
            input: &self.dataname,
            status,
            reason: self.reason(progress),
            memory_bytes: progress.sample.map(|sample| sample.memory_bytes),
            cpu_percent: progress.sample.and_then(|sample| sample.cpu_percent),
            started_at: started,
            finished_at: finished,
            output: excerpt.output(&log_name),
        };
        let folder = self.files.open()?;
        folder.write_whole(folder.relative(&self.files.status), &status_file.to_json())?;
        if self.files.job.is_none() {
            return Ok(());
        }
        // By the engine's clock, or by ours if no container ever ran.
        let latest = [started.and_then(|at| at.parse().ok()), excerpt.last.and_then(|stamp| stamp.time())];
        let latest = latest.into_iter().chain([progress.sample.map(|sample| sample.time)]).flatten().max();
        let time: Option<Timestamp> = finished.and_then(|at| at.parse().ok()).or(latest);
        let cancelled = container.filter(|container| container.stopped_by == Some(StoppedBy::Cancelled));
        let cancelled = cancelled.map(|container| describe_end(container, None));
        let reason = progress.failure.map(str::to_owned).or_else(|| self.start_failure(container));
        let entry = DatasetEntry {
            dataname: self.dataname.clone(),
            status,
            time: time.or_else(|| progress.failure.map(|_| Timestamp::now())),
            last_command: cancelled
                .clone()
                .or_else(|| excerpt.last_command())
                .or_else(|| reason.as_ref().and_then(|reason| reason.lines().next()).map(str::to_owned)),
            cpu: progress.sample.and_then(|sample| sample.cpu_percent),
            reason: reason.or(cancelled),
            container: container.map(|container| container.id.clone()),
        };
        let change = CertificateChange {
            submission: self.submission.clone(),
            numbers: self.numbers.clone(),
            number: self.number,
            entry,
        };
        self.certificates.update(&self.files.logs, || self.files.open(), change).await
    }

    /// Saves the record. It is written last: if it exists, the other files are complete.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let folder = self.files.open()?;
        folder.write_whole(folder.relative(&self.files.record), &record.to_line())
    }

    /// Null while it runs, else the exit code or a description.
    fn reason(&self, progress: &JobProgress<'_>) -> Value {
        if let Some(failure) = progress.failure {
            return failure.into();
        }
        let Some(container) = progress.container else { return Value::Null };
        if let Some(words) = self.start_failure(Some(container)) {
            return words.into();
        }
        let (Some(status), Some(code)) = (container.status, container.exit_code) else { return Value::Null };
        let end = describe_end(container, self.limit);
        match (container.stopped_by, status) {
            (Some(StoppedBy::Cancelled | StoppedBy::Engine), _) => end.into(),
            (_, Status::Success | Status::Failed) => code.into(),
            _ => format!("{end} (exit {code})").into(),
        }
    }

    fn start_failure(&self, container: Option<&Container>) -> Option<String> {
        let never_started = container.is_some_and(|container| container.has_ended() && container.started_at.is_none());
        self.engine_error.as_ref().filter(|_| never_started).map(|words| format!("cannot start: {words}"))
    }
}

fn dataset_status(progress: &JobProgress<'_>) -> DatasetStatus {
    let has_ended = progress.container.is_some_and(Container::has_ended);
    let status = progress.container.and_then(|container| container.status);
    if progress.failure.is_some() || has_ended && status != Some(Status::Success) {
        DatasetStatus::Failed
    } else if has_ended {
        DatasetStatus::Success
    } else if progress.container.is_some_and(|container| container.started_at.is_some()) {
        DatasetStatus::InProgress
    } else {
        DatasetStatus::Initializing
    }
}
