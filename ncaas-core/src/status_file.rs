//! `DATASET_NAME:<dataset>_STATUS.txt`: the status of one dataset, and the first and last lines of its output, as JSON
//! with its fields in the platform's order.
//!
//! The platform's client reads the output in `std` by consecutive keys from `"0"`, drops all of it at the first gap,
//! and joins the values with nothing between them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::certificate::{DatasetStatus, UNKNOWN};
use crate::text;
use crate::usage_record;

/// The largest status file that is read, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// The content of a status file. Unknown texts are written as `N/A`.
#[derive(Debug, Default)]
pub struct StatusFile<'a> {
    /// The container's id.
    pub instance: &'a str,
    /// The command as one line.
    pub command: &'a str,
    /// The dataset's name.
    pub input: &'a str,
    /// Its status.
    pub status: DatasetStatus,
    /// The exit code as a number, or the cause of the end in words; null while the job runs.
    pub reason: Value,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// When the job started, RFC 3339.
    pub started_at: Option<&'a str>,
    /// When the job ended, RFC 3339.
    pub finished_at: Option<&'a str>,
    /// The output, in the order of its times.
    pub output: Vec<OutputPart<'a>>,
}

/// A part of a job's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputPart<'a> {
    /// One line, without its line break.
    Line(&'a [u8]),
    /// Lines that are not in the status file.
    LeftOut {
        /// How many.
        lines: u64,
        /// Name of the file that holds all lines.
        log_name: &'a str,
    },
}

impl OutputPart<'_> {
    fn text(&self) -> String {
        match self {
            OutputPart::Line(line) => String::from_utf8_lossy(line).replace('\t', "    ").replace('\r', "") + "\n",
            OutputPart::LeftOut { lines, log_name } => {
                format!("... {lines} lines are left out here; `{log_name}` holds all lines ...\n")
            }
        }
    }
}

impl<'a> StatusFile<'a> {
    /// The status of a dataset whose job has not started.
    pub fn initializing(dataname: &'a str) -> Self {
        StatusFile { input: dataname, ..StatusFile::default() }
    }

    /// The content of the file.
    pub fn to_json(&self) -> Vec<u8> {
        let or_unknown = |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
        let parts = self.output.iter().enumerate();
        let std: Map<String, Value> = parts.map(|(number, part)| (number.to_string(), part.text().into())).collect();
        pretty_json(&json!({
            "instance": or_unknown(self.instance),
            "command": or_unknown(&text::one_line(self.command)),
            "input": or_unknown(self.input),
            "status": self.status.name(),
            "reason": self.reason,
            "memory_usage": self.memory_bytes.map_or(UNKNOWN.to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
            "cpu_usage": self.cpu_percent.map_or(UNKNOWN.to_owned(), |percent| format!("{percent:.1} %")),
            "job_start": time_or_unknown(self.started_at),
            "job_finish": time_or_unknown(self.finished_at),
            "std": std,
        }))
    }
}

/// The content of a status file after its job failed in a step after its end: its status is FAILED, with the reason.
/// None if the file is not a status file.
pub fn with_failure(content: &[u8], reason: &str) -> Option<Vec<u8>> {
    let mut file: Map<String, Value> = serde_json::from_slice(content).ok()?;
    *file.get_mut("status")? = DatasetStatus::Failed.name().into();
    *file.get_mut("reason")? = reason.into();
    Some(pretty_json(&file.into()))
}

fn pretty_json(file: &Value) -> Vec<u8> {
    format!("{file:#}\n").into_bytes()
}

/// A time as the platform writes it, in whole seconds.
fn time_or_unknown(time: Option<&str>) -> String {
    let time = time.and_then(|time| time.parse::<Timestamp>().ok());
    time.map_or(UNKNOWN.to_owned(), usage_record::whole_seconds)
}

/// The content of a status file of any writer.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadStatus {
    /// The status.
    pub status: DatasetStatus,
    /// The exit code or the cause of the end; null while the job runs.
    pub reason: Value,
    /// The container or instance.
    pub instance: Option<String>,
    /// The dataset's name.
    pub input: Option<String>,
    /// When the job started.
    pub started_at: Option<Timestamp>,
    /// When the job ended.
    pub finished_at: Option<Timestamp>,
    /// The lines of output that it has, without line breaks.
    pub output: Vec<String>,
}

impl ReadStatus {
    /// Reads a status file, ours or the platform's. None if the file is not a status file.
    pub fn parse(content: &[u8]) -> Option<ReadStatus> {
        let fields: Map<String, Value> = serde_json::from_slice(text::without_bom(content)).ok()?;
        let known = |field: &str| fields.get(field)?.as_str().filter(|text| !matches!(*text, "" | UNKNOWN));
        let std = fields.get("std").and_then(Value::as_object).into_iter().flatten();
        let mut lines: Vec<(u64, String)> = std.filter_map(output_line).collect();
        lines.sort_by_key(|(number, _)| *number);
        Some(ReadStatus {
            status: DatasetStatus::from_name(fields.get("status")?.as_str()?)?,
            reason: fields.get("reason").cloned().unwrap_or_default(),
            instance: known("instance").map(str::to_owned),
            input: known("input").map(str::to_owned),
            started_at: known("job_start").and_then(parse_time),
            finished_at: known("job_finish").and_then(parse_time),
            output: lines.into_iter().map(|(_, line)| line).collect(),
        })
    }
}

fn output_line((number, line): (&String, &Value)) -> Option<(u64, String)> {
    Some((number.parse().ok()?, line.as_str()?.trim_end_matches('\n').to_owned()))
}

/// A time as the platform's writers write it: with a zone, or in UTC without one.
fn parse_time(text: &str) -> Option<Timestamp> {
    let without_zone = || TimeZone::UTC.to_ambiguous_timestamp(text.parse::<DateTime>().ok()?).compatible().ok();
    text.parse().ok().or_else(without_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_have_the_platforms_order_and_form() {
        let status = StatusFile {
            instance: "0af1",
            command: "bash -c 'echo\nx'",
            status: DatasetStatus::Success,
            reason: Value::from(0),
            memory_bytes: Some(123_400_000),
            cpu_percent: Some(97.24),
            started_at: Some("2026-11-22T10:24:55.51660844Z"),
            output: vec![
                OutputPart::Line(b"a\tb\r"),
                OutputPart::LeftOut { lines: 7, log_name: "session1.npy.log" },
                OutputPart::Line(b"\xff\"\x01"),
            ],
            ..StatusFile::initializing("lab/inputs/session1.npy")
        };
        let json: Value = serde_json::from_slice(&status.to_json()).unwrap();
        let expected = serde_json::json!({
            "instance": "0af1", "command": "bash -c 'echo x'", "input": "lab/inputs/session1.npy", "status": "SUCCESS",
            "reason": 0, "memory_usage": "123.4 MB", "cpu_usage": "97.2 %", "job_start": "2026-11-22T10:24:55Z",
            "job_finish": "N/A", "std": {"0": "a    b\n",
                "1": "... 7 lines are left out here; `session1.npy.log` holds all lines ...\n", "2": "\u{FFFD}\"\u{1}\n"}
        });
        assert_eq!(json, expected);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), keys(&expected));
        assert_eq!(keys(&json["std"]), ["0", "1", "2"]);
    }

    #[test]
    fn the_status_of_a_job_that_has_not_started_is_initializing() {
        let json: Value = serde_json::from_slice(&StatusFile::initializing("x").to_json()).unwrap();
        assert_eq!(
            (&json["status"], &json["std"], &json["reason"]),
            (&"INITIALIZING".into(), &serde_json::json!({}), &Value::Null)
        );
        for unknown in ["instance", "command", "cpu_usage", "memory_usage", "job_start", "job_finish"] {
            assert_eq!(json[unknown], "N/A", "{unknown}");
        }
    }

    #[test]
    fn status_files_of_the_platform_are_read() {
        for (word, status) in [
            ("FAILED", DatasetStatus::Failed),
            ("sigkill/oom", DatasetStatus::Failed),
            ("running", DatasetStatus::InProgress),
        ] {
            let content = format!("\u{feff}{{\"status\": \"{word}\", \"reason\": 137}}");
            let read = ReadStatus::parse(content.as_bytes()).unwrap();
            assert_eq!((read.status, read.reason, read.started_at), (status, Value::from(137), None));
        }
        assert_eq!(
            ReadStatus::parse(&StatusFile::initializing("x").to_json()).unwrap().status,
            DatasetStatus::Initializing
        );
        assert_eq!(ReadStatus::parse(b"not JSON"), None);
        let platform = br#"{"instance": "i-0a", "input": "lab/inputs/a.npy", "status": "SUCCESS", "reason": 0,
            "job_start": "2026-11-22T10:24:55Z", "job_finish": "2026-11-22 10:25:55", "std": {"10": "c\n", "2": "b\n", "0": "a"}}"#;
        let read = ReadStatus::parse(platform).unwrap();
        assert_eq!((read.instance.as_deref(), read.input.as_deref()), (Some("i-0a"), Some("lab/inputs/a.npy")));
        assert_eq!(read.output, ["a", "b", "c"]);
        let times = [read.started_at, read.finished_at].map(|time| time.unwrap().to_string());
        assert_eq!(times, ["2026-11-22T10:24:55Z", "2026-11-22T10:25:55Z"]);
    }
}
