//! How a job fares, written into its status file and its certificate.

use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;
use ncaas_core::engine::container::{engine_error, time_limit};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, ErrorInfo, Status as Ending};
use serde_json::Value;

use super::certificate::{self, Entry, Stage, Submission};
use super::heard::Heard;
use super::places::{Places, submission};
use super::status_file::Status;
use crate::usage::Sample;

/// What stays the same about a job while it runs.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) places: Places,
    submission: Submission,
    number: usize,
    dataname: String,
    command: String,
    limit: Option<u64>,
    /// What the engine said where it could not start the job.
    engine_error: Option<String>,
}

/// How it fares at this moment.
#[derive(Debug, Default)]
pub(crate) struct Now<'a> {
    pub(crate) container: Option<&'a Container>,
    pub(crate) sample: Option<&'a Sample>,
    /// What a tool could not do for it.
    pub(crate) failure: Option<&'a str>,
}

impl Report {
    pub(crate) fn new(record: &Record, places: Places, inspected: Option<&ContainerInspectResponse>) -> Self {
        let (submission, number) = submission(record);
        let dataname = record.dataname().map(|names| names.names().join(", ")).unwrap_or_default();
        let command = match inspected {
            Some(inspected) => inspected.path.iter().chain(inspected.args.iter().flatten()).cloned().collect(),
            None => record.known().ok().and_then(|known| known.command).unwrap_or_default(),
        };
        Report {
            places,
            submission,
            number,
            dataname,
            command: one_line(&command),
            limit: inspected.and_then(time_limit),
            engine_error: inspected.and_then(engine_error).map(str::to_owned),
        }
    }

    /// Writes the status file, and this dataset's line in the certificate.
    ///
    /// # Errors
    /// When the job's logs cannot be written.
    pub(crate) fn write(&self, now: &Now<'_>, heard: &Heard) -> Result<()> {
        let stage = stage(now);
        let container = now.container;
        let started = container.and_then(|container| container.started_at.as_deref());
        let finished = container.and_then(|container| container.finished_at.as_deref());
        let log_name = self.places.log.file_name().unwrap_or_default().to_string_lossy();
        let status = Status {
            instance: container.map_or("", |container| &container.id),
            command: &self.command,
            input: &self.dataname,
            stage,
            reason: self.reason(now),
            memory: now.sample.map(|sample| sample.memory_bytes),
            cpu: now.sample.and_then(|sample| sample.cpu_percent),
            started_at: started,
            finished_at: finished,
            heard,
            log_name: &log_name,
        };
        let folder = self.places.open()?;
        folder.write_whole(folder.within(&self.places.status), &status.to_json())?;
        if self.places.job.is_none() {
            return Ok(());
        }
        // By the engine's clock; ours only where no container ever ran.
        let latest = [started.and_then(|at| at.parse().ok()), heard.last.and_then(|stamp| stamp.time())];
        let latest = latest.into_iter().chain([now.sample.map(|sample| sample.time)]).flatten().max();
        let time: Option<Timestamp> = finished.and_then(|at| at.parse().ok()).or(latest);
        let reason = now.failure.map(str::to_owned).or_else(|| self.start_failure(container));
        let entry = Entry {
            dataname: self.dataname.clone(),
            stage,
            time: time.or_else(|| now.failure.map(|_| Timestamp::now())),
            last_command: heard.last_command().or_else(|| reason.as_ref().map(|reason| first_line(reason).to_owned())),
            cpu: now.sample.and_then(|sample| sample.cpu_percent),
            reason,
        };
        // A refused submission's one record stands for all of its datasets.
        let numbers = if self.submission.datanames.len() > self.submission.datasets {
            1..=self.submission.datanames.len()
        } else {
            self.number..=self.number
        };
        for number in numbers.clone() {
            let name = self.submission.datanames.get(number - 1).filter(|_| numbers.end() > numbers.start());
            let dataname = name.unwrap_or(&entry.dataname).clone();
            let reason = entry.reason.clone().filter(|_| number == self.number);
            certificate::update(&folder, &self.submission, number, &Entry { dataname, reason, ..entry.clone() })?;
        }
        Ok(())
    }

    /// Saves the whole record: whoever finds it finds the others whole.
    ///
    /// # Errors
    /// When the job's logs cannot be written.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let folder = self.places.open()?;
        folder.write_whole(folder.within(&self.places.record), &record.to_line())
    }

    /// Null while it runs, the exit code, or what truly happened.
    fn reason(&self, now: &Now<'_>) -> Value {
        if let Some(failure) = now.failure {
            return failure.into();
        }
        let Some(container) = now.container else { return Value::Null };
        if let Some(words) = self.start_failure(Some(container)) {
            return words.into();
        }
        let (Some(status), Some(code)) = (container.status, container.exit_code) else { return Value::Null };
        match status {
            Ending::Success | Ending::Failed => code.into(),
            Ending::OutOfMemory => format!("out of memory: killed by the kernel (exit code {code})").into(),
            Ending::Killed => format!("killed by signal {} (exit code {code})", code - 128).into(),
            Ending::Timeout => {
                let limit = self.limit.map(|limit| format!(" of {limit} s")).unwrap_or_default();
                format!("ran longer than its limit{limit} and was stopped (exit code {code})").into()
            }
        }
    }

    fn start_failure(&self, container: Option<&Container>) -> Option<String> {
        let never_started = container.is_some_and(|container| container.has_ended() && container.started_at.is_none());
        self.engine_error.as_ref().filter(|_| never_started).map(|words| format!("cannot start: {words}"))
    }
}

fn stage(now: &Now<'_>) -> Stage {
    match now.container {
        _ if now.failure.is_some() => Stage::Failed,
        Some(container) if container.has_ended() => match container.status {
            Some(Ending::Success) => Stage::Success,
            _ => Stage::Failed,
        },
        Some(container) if container.started_at.is_some() => Stage::InProgress,
        _ => Stage::Initializing,
    }
}

/// An error's words with what to do about it.
pub(crate) fn words_of_error(error: &ErrorInfo) -> String {
    words(&error.message, error.hint.as_deref())
}

/// A failure's words with what to do about it.
pub(crate) fn words_of_failure(failure: &Failure) -> String {
    words(&failure.message, failure.hint.as_deref())
}

fn words(message: &str, hint: Option<&str>) -> String {
    hint.map_or(message.to_owned(), |hint| format!("{message}\nhint: {hint}"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A command as one would type it.
fn one_line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| shlex::try_quote(word).map_or(word.clone(), std::borrow::Cow::into_owned));
    quoted.collect::<Vec<_>>().join(" ")
}
