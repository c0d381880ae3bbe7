//! `DATASET_NAME:<dataset>_STATUS.txt`: how one dataset fares, and the beginning and end of what it printed, as JSON
//! with its fields in the platform's order.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::certificate::Stage;
use crate::output_excerpt::{ExcerptLine, OutputExcerpt};

/// What the file says. Texts that are not known are `N/A`.
#[derive(Debug)]
pub(crate) struct Status<'a> {
    /// The container's id.
    pub(crate) instance: &'a str,
    pub(crate) command: &'a str,
    pub(crate) input: &'a str,
    pub(crate) stage: Stage,
    /// Null while it runs, the exit code, or what happened in words.
    pub(crate) reason: Value,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Percent of one CPU.
    pub(crate) cpu: Option<f64>,
    pub(crate) started_at: Option<&'a str>,
    pub(crate) finished_at: Option<&'a str>,
    pub(crate) excerpt: &'a OutputExcerpt,
    /// Name of the file that holds the whole log.
    pub(crate) log_name: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    instance: &'a str,
    command: String,
    input: &'a str,
    status: &'a str,
    reason: &'a Value,
    memory_usage: String,
    cpu_usage: String,
    job_start: &'a str,
    job_finish: &'a str,
    std: Std<'a>,
}

impl Status<'_> {
    /// The status file's content.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        const UNKNOWN: &str = "N/A";
        let or_unknown = |text: &'_ str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
        let file = File {
            instance: if self.instance.is_empty() { UNKNOWN } else { self.instance },
            command: or_unknown(&self.command.replace(|character: char| character.is_control(), " ")),
            input: if self.input.is_empty() { UNKNOWN } else { self.input },
            status: self.stage.name(),
            reason: &self.reason,
            memory_usage: self.memory.map_or(UNKNOWN.to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
            cpu_usage: self.cpu.map_or(UNKNOWN.to_owned(), |percent| format!("{percent:.1} %")),
            job_start: self.started_at.unwrap_or(UNKNOWN),
            job_finish: self.finished_at.unwrap_or(UNKNOWN),
            std: Std { excerpt: self.excerpt, log_name: self.log_name },
        };
        let mut json = serde_json::to_vec_pretty(&file).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// The lines that are kept, keyed by their numbers.
struct Std<'a> {
    excerpt: &'a OutputExcerpt,
    log_name: &'a str,
}

impl Serialize for Std<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for kept in self.excerpt.lines() {
            match kept {
                ExcerptLine::Line(number, line) => {
                    let text = String::from_utf8_lossy(line).replace('\t', "    ").replace('\r', "");
                    map.serialize_entry(&number.to_string(), &text)?;
                }
                ExcerptLine::Gap { number, left_out } => {
                    let words = format!("... {left_out} lines are left out here; all are in `{}` ...", self.log_name);
                    map.serialize_entry(&number.to_string(), &words)?;
                }
            }
        }
        map.end()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose status file is no JSON has failed")]
mod tests {
    use super::*;
    use crate::log::{Line, Stamp, Stream};

    fn status(excerpt: &OutputExcerpt) -> Status<'_> {
        Status {
            instance: "0af1",
            command: "bash -c 'echo\nx'",
            input: "lab/inputs/session1.npy",
            stage: Stage::Success,
            reason: Value::from(0),
            memory: Some(123_400_000),
            cpu: Some(97.24),
            started_at: Some("2026-11-22T10:24:55Z"),
            finished_at: None,
            excerpt,
            log_name: "session1.npy.log",
        }
    }

    #[test]
    fn the_fields_stand_in_the_platforms_order() {
        let mut excerpt = OutputExcerpt::default();
        for bytes in [b"a\tb\r".as_slice(), b"\xff\"\x01"] {
            let stamp = Stamp::MIN;
            excerpt.push(&Line {
                stamp,
                stream: Stream::Stderr,
                bytes,
                begins: true,
                ends: true,
                broken: true,
                details: b"",
            });
        }
        let json: Value = serde_json::from_slice(&status(&excerpt).to_json()).unwrap();
        let expected = serde_json::json!({
            "instance": "0af1", "command": "bash -c 'echo x'", "input": "lab/inputs/session1.npy", "status": "SUCCESS",
            "reason": 0, "memory_usage": "123.4 MB", "cpu_usage": "97.2 %", "job_start": "2026-11-22T10:24:55Z",
            "job_finish": "N/A", "std": {"0": "a    b", "1": "\u{FFFD}\"\u{1}"}
        });
        assert_eq!(json, expected);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), keys(&expected));
    }

    #[test]
    fn a_job_that_printed_nothing_has_an_empty_std() {
        let excerpt = OutputExcerpt::default();
        let unknown = Status { instance: "", memory: None, cpu: None, reason: Value::Null, ..status(&excerpt) };
        let json: Value = serde_json::from_slice(&unknown.to_json()).unwrap();
        assert_eq!((&json["std"], &json["reason"]), (&serde_json::json!({}), &Value::Null));
        assert_eq!((&json["instance"], &json["cpu_usage"]), (&"N/A".into(), &"N/A".into()));
    }
}
