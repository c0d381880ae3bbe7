//! The row of one job in a report.

use std::path::{Component, Path, PathBuf};

use ncaas_core::duration::format_duration;
use ncaas_core::failure_cause::LONGEST_CAUSE;
use ncaas_core::layout::{JobFolder, base_name};
use ncaas_core::outcome::{describe_cause, describe_end, results_path};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use ncaas_core::text::{serialized_name, shorten, strip_control};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::saved_files::{SavedFiles, find_cause_in};
use crate::timeline::{format_utc, unix_seconds};

/// Characters of a path that need no encoding in a link.
const IN_PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One job, as text. Numbers for sorting have the value of the text beside them.
#[derive(Debug)]
pub(crate) struct JobSummary {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) job_id: String,
    /// The status as a word for style sheets, and for people.
    pub(crate) class: String,
    pub(crate) status: String,
    pub(crate) has_failed: bool,
    pub(crate) cause: String,
    pub(crate) start: String,
    pub(crate) start_s: f64,
    pub(crate) duration: String,
    pub(crate) duration_s: f64,
    pub(crate) cpu: String,
    pub(crate) cpu_s: f64,
    pub(crate) memory: String,
    pub(crate) memory_bytes: u64,
    pub(crate) image: String,
    pub(crate) config: String,
    pub(crate) last_lines: Vec<String>,
    /// Whether its log is empty.
    pub(crate) is_silent: bool,
    /// Links to its log and results, if they exist.
    pub(crate) log: Option<String>,
    pub(crate) results: Option<String>,
}

impl JobSummary {
    /// Summarises a record. `saved` are its files; links are relative to `folder`.
    pub(crate) fn new(record: &Record, saved: Option<&SavedFiles>, number: usize, folder: &Path) -> Self {
        let container = record.container();
        let known = record.fields().unwrap_or_default();
        let usage = known.usage.unwrap_or_default();
        let start = container.as_ref().and_then(|container| unix_seconds(container.started_at.as_deref()));
        let end = container.as_ref().and_then(|container| unix_seconds(container.finished_at.as_deref()));
        let duration =
            container.as_ref().and_then(|container| container.duration_s).or(end.zip(start).map(|(e, s)| e - s));
        let class = status_word(record, container.as_ref());
        let ended = container.as_ref().filter(|container| container.has_ended());
        let has_failed = !matches!(class.as_str(), "success" | "running" | WAITING);
        let last_lines = saved.filter(|_| has_failed).map(|saved| saved.last_lines()).unwrap_or_default();
        let output = known.cause.or_else(|| find_cause_in(&last_lines));
        let cause_of_end = || describe_cause(record, ended?, output.as_deref());
        let reason = || record.fields().ok()?.warnings?.last().cloned();
        let cause = record.error().map(|error| error.message).or_else(cause_of_end).or_else(reason);
        let cause = cause.filter(|_| has_failed).unwrap_or_default();
        let job_id = record.job().map(|job| job.id).unwrap_or_default();
        let name = record.dataset_name().or_else(|| Some(job_id.clone()).filter(|id| !id.is_empty()));
        let text = |field: &str| record.text(field).map(|text| base_name(text).to_owned()).unwrap_or_default();
        JobSummary {
            number,
            name: name.or_else(|| container.as_ref().map(|container| container.name.clone())).unwrap_or_default(),
            job_id,
            status: ended
                .map_or_else(|| describe_class(&class), |container| describe_end(container, record.time_limit_s())),
            class,
            has_failed,
            cause: shorten(&strip_control(&cause), LONGEST_CAUSE),
            start: start.map(format_utc).unwrap_or_default(),
            start_s: start.unwrap_or(f64::MAX),
            duration: duration.map(format_duration).unwrap_or_default(),
            duration_s: duration.unwrap_or_default(),
            cpu: if usage.cpu_s > 0.0 { format_duration(usage.cpu_s) } else { String::new() },
            cpu_s: usage.cpu_s,
            memory: if usage.memory_peak_bytes > 0 { format_bytes(usage.memory_peak_bytes) } else { String::new() },
            memory_bytes: usage.memory_peak_bytes,
            image: record.text("image").unwrap_or_default().to_owned(),
            config: text("configname"),
            last_lines: last_lines.into_iter().map(|line| line.text).collect(),
            is_silent: saved.and_then(|saved| saved.log.path().metadata().ok()).is_some_and(|log| log.len() == 0),
            log: saved.map(|saved| saved.log.path()).filter(|path| path.exists()).and_then(|path| link(path, folder)),
            results: results_folder(record, saved).and_then(|path| link(&path, folder)),
        }
    }
}

/// The classes of jobs that never ran: a tool failed, or they wait.
pub(crate) const NOT_RUN: &str = "error";
pub(crate) const WAITING: &str = "waiting";

/// The status as a word for style sheets.
fn status_word(record: &Record, container: Option<&Container>) -> String {
    let is_started = container.is_some_and(|container| container.started_at.is_some());
    match container.and_then(|container| container.status) {
        Some(status) => serialized_name(&status),
        None if record.has_error() => NOT_RUN.to_owned(),
        None if is_started => "running".to_owned(),
        None => WAITING.to_owned(),
    }
}

/// The words for the jobs of a class.
pub(crate) fn describe_class(class: &str) -> String {
    match class {
        NOT_RUN => "could not run".to_owned(),
        WAITING => "not started".to_owned(),
        "success" => "succeeded".to_owned(),
        class => class.replace('-', " "),
    }
}

/// The folder of the job's results: beside its `logs`, or in the record's io-dir.
fn results_folder(record: &Record, saved: Option<&SavedFiles>) -> Option<PathBuf> {
    let beside = saved.and_then(|saved| saved.log.path().parent()?.parent().map(|job| job.join(results_path(record))));
    let of_record = || JobFolder::for_record(record).ok().map(|job| job.root().join(results_path(record)));
    beside.filter(|path| path.is_dir()).or_else(of_record).filter(|path| path.is_dir())
}

/// A relative link, so that the page and the io-dir can be moved together.
fn link(path: &Path, folder: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let (mut from, mut to) = (folder.components().peekable(), path.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let relative: PathBuf = from.map(|_| Component::ParentDir).chain(to).collect();
    // `./` keeps a colon in the first name from looking like a scheme.
    Some(format!("./{}", utf8_percent_encode(relative.to_str()?, &IN_PATH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_encoded() {
        let link = |path: &str, folder: &str| link(Path::new(path), Path::new(folder));
        assert_eq!(link("/a/b/c d#?.log", "/a").as_deref(), Some("./b/c%20d%23%3F.log"));
        assert_eq!(link("/a/DATASET:x.log", "/a").as_deref(), Some("./DATASET%3Ax.log"));
        assert_eq!(link("/a/b/é.log", "/a/c/d").as_deref(), Some("./../../b/%C3%A9.log"));
    }
}
