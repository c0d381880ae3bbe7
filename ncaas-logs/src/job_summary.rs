//! What a report says about one job.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use ncaas_core::layout::{JobFolder, base_name};
use ncaas_core::outcome::find_cause;
use ncaas_core::quantity::{format_bytes, format_duration};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Status};
use ncaas_core::text::{shorten, strip_control};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::saved_files::SavedFiles;

/// How many of a failed job's last lines are shown, and how long the cause may be.
const LAST_LINES: usize = 20;
const LONGEST_CAUSE: usize = 300;

/// Characters of a path that need no encoding in a link.
const IN_PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One job, as text. Numbers for sorting have the value of the text beside them.
#[derive(Debug)]
pub(crate) struct JobSummary {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) job_id: String,
    /// The status as a word for style sheets, and for people.
    pub(crate) class: &'static str,
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
    /// Links to its log and results, if they exist.
    pub(crate) log: Option<String>,
    pub(crate) results: Option<String>,
}

impl JobSummary {
    /// Summarises a record. `saved` are its files; links are relative to `folder`.
    pub(crate) fn new(record: &Record, saved: Option<&SavedFiles>, number: usize, folder: &Path) -> Self {
        let container = record.container();
        let known = record.known().unwrap_or_default();
        let usage = known.usage.unwrap_or_default();
        let seconds = |time: Option<&String>| Some(time?.parse::<Timestamp>().ok()?.as_nanosecond() as f64 / 1e9);
        let start = container.as_ref().and_then(|container| seconds(container.started_at.as_ref()));
        let end = container.as_ref().and_then(|container| seconds(container.finished_at.as_ref()));
        let duration =
            container.as_ref().and_then(|container| container.duration_s).or(end.zip(start).map(|(e, s)| e - s));
        let (class, status) = describe(record, container.as_ref());
        let has_failed = !matches!(class, "success" | "running" | "waiting");
        let last_lines = saved.filter(|_| has_failed).map(|saved| saved.last_lines(LAST_LINES)).unwrap_or_default();
        let error = record.error().map(|error| error.message);
        let cause = || {
            let errors = last_lines.iter().rev().filter(|line| line.is_stderr).map(|line| line.text.as_str());
            let all = last_lines.iter().rev().map(|line| line.text.as_str());
            find_cause(errors).or_else(|| find_cause(all)).map(str::to_owned)
        };
        let reason = || record.known().ok()?.warnings?.last().cloned();
        let cause = if has_failed { error.or_else(cause).or_else(reason) } else { None }.unwrap_or_default();
        let dataset = record.dataname().and_then(|names| names.names().first().map(|name| base_name(name).to_owned()));
        let job_id = record.job().map(|job| job.id).unwrap_or_default();
        let name = dataset.or_else(|| Some(job_id.clone()).filter(|id| !id.is_empty()));
        let text = |field: &str| record.text(field).map(|text| base_name(text).to_owned()).unwrap_or_default();
        JobSummary {
            number,
            name: name.or_else(|| container.map(|container| container.name)).unwrap_or_default(),
            job_id,
            class,
            status,
            has_failed,
            cause: shorten(&strip_control(&cause), LONGEST_CAUSE),
            start: start.and_then(format_time).unwrap_or_default(),
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
            log: saved.map(|saved| saved.log.path()).filter(|path| path.exists()).and_then(|path| link(path, folder)),
            results: results_folder(record, saved).and_then(|path| link(&path, folder)),
        }
    }
}

fn format_time(seconds: f64) -> Option<String> {
    Some(Timestamp::from_second(seconds as i64).ok()?.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn describe(record: &Record, container: Option<&Container>) -> (&'static str, String) {
    let code = container.and_then(|container| container.exit_code).map(|code| format!(" (exit {code})"));
    match container.and_then(|container| container.status) {
        Some(Status::Success) => ("success", "success".to_owned()),
        Some(Status::Failed) => ("failed", format!("failed{}", code.unwrap_or_default())),
        Some(Status::OutOfMemory) => ("out-of-memory", "out of memory".to_owned()),
        Some(Status::Killed) => ("killed", "killed".to_owned()),
        Some(Status::Timeout) => ("timeout", "timeout".to_owned()),
        None if record.has_error() => ("error", "could not run".to_owned()),
        None if container.is_some_and(|container| container.started_at.is_some()) => ("running", "running".to_owned()),
        None => ("waiting", "not started".to_owned()),
    }
}

/// The folder of the job's results: beside its `logs`, or in the record's io-dir.
fn results_folder(record: &Record, saved: Option<&SavedFiles>) -> Option<PathBuf> {
    let beside = saved.and_then(|saved| saved.log.path().parent()?.parent().map(|job| job.join("process_results")));
    let of_record = || JobFolder::for_record(record).ok().map(|job| job.root().join("process_results"));
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
