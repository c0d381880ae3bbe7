//! The words for people that say how a job ended.
//!
//! In a pipe, the stage that knows most about an end prints it and marks the record. Later stages see the mark.

use std::path::{Path, PathBuf};

use crate::duration::format_duration;
use crate::failure_cause::shorten_cause;
use crate::files;
use crate::layout::{JobFolder, PROCESS_RESULTS, file_label};
use crate::quantity::{format_bytes, format_count, format_limit};
use crate::record::Record;
use crate::record::fields::{Container, Status, StoppedBy};
use crate::text::{base_name, one_line, serialized_name};

/// The beginning of the warning about a successful job without results.
pub const NO_RESULTS: &str = "the job succeeded, but ";

/// The line about how the job of a record ended, without control characters; none if it has not ended.
///
/// `log` is the path or the address of its saved log. The results of a successful job are counted if they were
/// collected, or the reason is named why there are none.
///
/// ```text
/// session01.npy succeeded in 12.3 s: 3 results, 4.1 MB
/// session01.npy failed (exit 1) after 0.7 s: ValueError: shapes (3,4) and (5,) not aligned; log: PATH
/// ```
pub fn outcome_line(record: &Record, log: Option<&Path>) -> Option<String> {
    let container = record.container().filter(Container::has_ended)?;
    let name = subject_of_record(record, &container);
    let duration = container.duration_s.map(format_duration);
    let limit = record.time_limit_s();
    let end = describe_end(&container, limit);
    if container.status == Some(Status::Success) {
        let time = duration.map(|duration| format!(" in {duration}")).unwrap_or_default();
        let results = match (describe_results(record), reason_for_no_results(record)) {
            (Some(results), _) => format!(": {results}"),
            (None, Some(reason)) => format!(", but {reason}"),
            (None, None) => String::new(),
        };
        let over = container.exceeded_limit(limit);
        let over = over.map(|limit| format!(", over its time limit of {}", format_duration(limit))).unwrap_or_default();
        let killed = container.lost_a_process();
        let killed = if killed { ", with a process killed because memory ran out" } else { "" };
        return Some(format!("{name} {end}{time}{over}{killed}{results}"));
    }
    let time = duration.map(|duration| format!(" after {duration}")).unwrap_or_default();
    let mut line = format!("{name} {end}{time}");
    if let Some(cause) = describe_cause(record, &container, record.text("cause")) {
        line.push_str(if remedy(record, &container).is_some() { "; " } else { ": " });
        line.push_str(&cause);
    } else if record.logs().is_some_and(|logs| logs.lines == 0) {
        line.push_str(": it printed nothing");
    }
    if let Some(log) = log {
        line.push_str(&format!("; log: {}", shown_path(log)));
    }
    Some(line)
}

/// Adds the folder of its results to the line about a job's end, if it has results.
pub fn add_results_folder(outcome: &mut String, record: &Record, folder: &str) {
    if let Some(results) = describe_results(record) {
        outcome.push_str(&if record.is_failed() {
            format!("; {results} in {folder}")
        } else {
            format!(" in {folder}")
        });
    }
}

/// Why a job ended badly: the remedy for a limit that has ended it, and `output`, the likely cause in its output. None
/// if a user or the engine has ended it: then its output does not say why.
pub fn describe_cause(record: &Record, container: &Container, output: Option<&str>) -> Option<String> {
    let is_stopped = container.stopped_by.is_some_and(StoppedBy::is_outside);
    let output = output.filter(|_| !is_stopped).map(shorten_cause).filter(|cause| !cause.is_empty());
    match (remedy(record, container), output) {
        (Some(remedy), Some(output)) => Some(format!("{remedy}; last output: {output}")),
        (remedy, output) => remedy.or(output),
    }
}

/// Why a successful job has no results, from its warnings.
pub fn reason_for_no_results(record: &Record) -> Option<String> {
    let warnings = record.fields().ok()?.warnings.filter(|_| !record.has_results())?;
    warnings.iter().find_map(|warning| warning.strip_prefix(NO_RESULTS)).map(one_line)
}

/// The number and size of results, `3 results, 4.1 MB`; none if there are none.
pub fn describe_results(record: &Record) -> Option<String> {
    if let Some(listed) = record.results_file() {
        return Some(format_count(listed.count, "result"));
    }
    let results = record.results().filter(|results| !results.is_empty())?;
    let size = results.iter().map(|result| result.size).sum();
    Some(format!("{}, {}", format_count(results.len(), "result"), format_bytes(size)))
}

/// The folder with the results of a job, as it is shown on a terminal; none if it has no results in an io-dir.
pub fn results_folder(record: &Record) -> Option<String> {
    let job = JobFolder::for_record(record).ok().filter(|_| record.has_results())?;
    Some(shown_path(&job.root().join(results_path(record))))
}

/// The path of the folder with the results of a record's dataset, in the job's folder.
pub fn results_path(record: &Record) -> PathBuf {
    let Some(job) = record.job().filter(|job| job.datasets > 1) else { return PROCESS_RESULTS.into() };
    // If the config has the dataset's label, the folder has another name.
    let results = record.results().unwrap_or_default();
    let own = results.iter().find_map(|result| {
        let (_, path) = result.path.split_once(&format!("/{PROCESS_RESULTS}/"))?;
        path.split_once('/').map(|(folder, _)| folder.to_owned())
    });
    Path::new(PROCESS_RESULTS).join(own.unwrap_or_else(|| file_label(job.label.as_deref().unwrap_or_default())))
}

/// A path relative to the working directory, on one line.
pub fn shown_path(path: &Path) -> String {
    one_line(&files::relative_to_working_directory(path).to_string_lossy())
}

/// The state of a record's container in a list or a summary. A development container has no status: it was stopped.
pub fn describe_state(record: &Record, container: &Container) -> String {
    match container.status {
        Some(_) if record.is_development() => "stopped".to_owned(),
        Some(status) => serialized_name(&status),
        None => container.state.clone(),
    }
}

/// Whether an earlier stage has printed how a record's job ended.
pub fn is_reported(record: &Record) -> bool {
    record.fields().is_ok_and(|known| known.outcome_reported == Some(true))
}

/// The dataset's name, else the job's id, else the container's name. A dataset label that is not the name of the
/// dataset's file is followed by the path of the file.
fn subject_of_record(record: &Record, container: &Container) -> String {
    let Some(name) = record.dataset_name() else {
        return one_line(&record.job().map_or_else(|| container.name.clone(), |job| job.id));
    };
    let path = record.dataname().and_then(|names| names.first().map(str::to_owned));
    match path.filter(|path| base_name(path) != name) {
        Some(path) => {
            let shown = files::relative_to_working_directory(Path::new(&path));
            one_line(&format!("{name} ({})", shown.display()))
        }
        None => one_line(&name),
    }
}

/// How an ended container ended, to follow its name: `failed (exit 1)`. `limit` is its time limit in seconds, if it is
/// known.
pub fn describe_end(container: &Container, limit: Option<u64>) -> String {
    let code = container.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default();
    match container.status {
        _ if container.stopped_by == Some(StoppedBy::Cancelled) => "was cancelled".to_owned(),
        _ if container.stopped_by == Some(StoppedBy::Engine) => {
            format!("was stopped by a restart of the engine{code}")
        }
        Some(Status::OutOfMemory) => "ran out of memory".to_owned(),
        Some(Status::Success) => "succeeded".to_owned(),
        Some(Status::Timeout) => {
            let limit = limit.map(|limit| format!(" of {}", format_duration(limit as f64))).unwrap_or_default();
            format!("exceeded its time limit{limit} and was stopped")
        }
        Some(Status::Killed) if container.stopped_by == Some(StoppedBy::User) => "was stopped by a user".to_owned(),
        Some(Status::Killed) => {
            let signal = container.signal.or(container.exit_code.filter(|code| *code > 128).map(|code| code - 128));
            signal.map_or("was killed".to_owned(), |signal| format!("was killed by signal {signal}"))
        }
        _ if container.started_at.is_none() => format!("did not start{code}"),
        _ => format!("failed{code}"),
    }
}

/// The remedy for a job that a limit has ended.
fn remedy(record: &Record, container: &Container) -> Option<String> {
    let known = record.fields().unwrap_or_default();
    let settings = known.run.unwrap_or_default();
    match container.status? {
        Status::OutOfMemory => Some(match settings.memory {
            Some(limit) => format!("its limit is {}: raise it with `--memory`", format_limit(limit)),
            None => "run it with fewer jobs at once, or on a machine with more memory".to_owned(),
        }),
        Status::Timeout if known.limited_by_config == Some(true) => {
            Some("raise `__duration__` in its config".to_owned())
        }
        Status::Timeout => Some("raise it with `--timeout`".to_owned()),
        Status::Success | Status::Failed | Status::Killed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_one_line_with_its_remedy() {
        let results =
            r#"},"results":[{"path":"a","size":4000000,"source":"x"},{"path":"b","size":100000,"source":"x"}]"#;
        let (log, cause) = ("; log: /io/x.log", "ValueError: x; log: /io/x.log");
        let cases = [
            (r#"success","exit_code":0,"duration_s":12.34"#, results, "succeeded in 12.3 s: 2 results, 4.1 MB", ""),
            (r#"success","exit_code":0"#, "}", "succeeded", ""),
            (
                r#"success","exit_code":0,"duration_s":2"#,
                r#"},"warnings":["w","the job succeeded, but has no results: 1 file"]"#,
                "succeeded in 2.0 s, but has no results: 1 file",
                "",
            ),
            (
                r#"failed","exit_code":1,"started_at":"2026-11-22T10:00:00Z","duration_s":0.71"#,
                "}",
                "failed (exit 1) after 0.7 s: ",
                cause,
            ),
            (r#"failed","exit_code":127"#, "}", "did not start (exit 127): ", cause),
            (
                r#"out-of-memory","exit_code":137,"duration_s":61"#,
                r#"},"run":{"memory":33554432}"#,
                "ran out of memory after 1m 1s; its limit is 32m: raise it with `--memory`; last output: ",
                cause,
            ),
            (
                r#"success","exit_code":0,"duration_s":2.5"#,
                r#"},"run":{"timeout_s":2}"#,
                "succeeded in 2.5 s, over its time limit of 2.0 s",
                "",
            ),
            (
                r#"killed","exit_code":137,"signal":9,"duration_s":2"#,
                "}",
                "was killed by signal 9 after 2.0 s: ",
                cause,
            ),
            (r#"killed","signal":9,"stopped_by":"user","duration_s":2"#, "}", "was stopped by a user after 2.0 s", log),
            (r#"killed","signal":9,"duration_s":2,"stopped_by":"cancelled""#, "}", "was cancelled after 2.0 s", log),
            (
                r#"failed","exit_code":255,"duration_s":2,"stopped_by":"engine""#,
                "}",
                "was stopped by a restart of the engine (exit 255) after 2.0 s",
                log,
            ),
            (
                r#"timeout","exit_code":143,"duration_s":4"#,
                "}",
                "exceeded its time limit and was stopped after 4.0 s; raise it with `--timeout`; last output: ",
                cause,
            ),
            (
                r#"timeout","exit_code":143,"duration_s":3700"#,
                r#"},"limited_by_config":true"#,
                "exceeded its time limit and was stopped after 1h 1m 40s; raise `__duration__` in its config; last output: ",
                cause,
            ),
        ];
        for (end, rest, expected, last) in cases {
            let cause = r#""cause":"ValueError: x""#;
            let line =
                format!(r#"{{"dataname":"lab/s.npy",{cause},"container":{{"state":"exited","status":"{end}{rest}}}"#);
            let record = Record::parse(line.as_bytes()).unwrap();
            let said = outcome_line(&record, Some(Path::new("/io/x.log")));
            assert_eq!(said, Some(format!("s.npy {expected}{last}")));
        }
    }

    #[test]
    fn one_of_several_datasets_is_named_by_its_label_and_its_file_if_that_has_another_name() {
        for (label, expected) in [("x.npy", "x.npy succeeded"), ("x.npy.2", "x.npy.2 (lab/b/x.npy) succeeded")] {
            let record = format!(
                r#"{{"job":{{"id":"j","dataset":2,"datasets":2,"label":"{label}"}},"dataname":"lab/b/x.npy","container":{{"state":"exited","status":"success"}}}}"#
            );
            assert_eq!(outcome_line(&Record::parse(record.as_bytes()).unwrap(), None).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_success_after_its_time_limit_has_a_warning() {
        let mut record = Record::parse(br#"{"run":{"timeout_s":2}}"#).unwrap();
        let container = Container { status: Some(Status::Success), duration_s: Some(3.5), ..Container::default() };
        record.set_container(container);
        let warnings = record.fields().unwrap().warnings.unwrap_or_default();
        assert_eq!(warnings, ["the job ran for 3.5 s, longer than its time limit of 2.0 s, and succeeded"]);
    }

    #[test]
    fn a_success_without_a_process_that_ran_out_of_memory_is_not_told_as_a_plain_success() {
        let record = Record::parse(
            br#"{"dataname":"s.npy","container":{"state":"exited","status":"success","duration_s":1,"oom":true}}"#,
        );
        let line = outcome_line(&record.unwrap(), None);
        assert_eq!(line.as_deref(), Some("s.npy succeeded in 1.0 s, with a process killed because memory ran out"));
    }

    #[test]
    fn a_running_job_has_no_outcome_and_control_sequences_are_removed() {
        let running = Record::parse(br#"{"container":{"state":"running"}}"#).unwrap();
        assert_eq!(outcome_line(&running, None), None);
        let record = Record::parse(
            br#"{"dataname":"a\u001b[2Jb","cause":"\u001b]52;c;eA==\u0007bad\nline",
                "container":{"state":"exited","status":"failed","exit_code":2,"started_at":"x"}}"#,
        );
        let line = outcome_line(&record.unwrap(), None);
        assert_eq!(line.as_deref(), Some("ab failed (exit 2): bad line"));
    }
}
