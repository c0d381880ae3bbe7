//! The line of one dataset in a certificate:
//! `DATANAME: ... | STATUS: ... | TIME: ... | LAST COMMAND: ... | CPU_USAGE: ...`.

use std::fmt;

use jiff::Timestamp;

use crate::text;

/// The text for an unknown value.
pub const UNKNOWN: &str = "N/A";
const TIME_FORMAT: &str = "%Y_%m_%d_%H_%M_%S";
/// The length of a value, in characters.
const MAX_VALUE: usize = 400;

/// The status of a dataset, in the platform's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DatasetStatus {
    /// The job has not started.
    #[default]
    Initializing,
    /// The job runs.
    InProgress,
    /// The job ended with exit code 0.
    Success,
    /// The job ended in any other way, or could not start.
    Failed,
}

impl DatasetStatus {
    /// The platform's word.
    pub fn name(self) -> &'static str {
        match self {
            DatasetStatus::Initializing => "INITIALIZING",
            DatasetStatus::InProgress => "IN PROGRESS",
            DatasetStatus::Success => "SUCCESS",
            DatasetStatus::Failed => "FAILED",
        }
    }

    /// The status that a certificate or status file names. The platform's local tool uses other words.
    pub fn from_name(name: &str) -> Option<DatasetStatus> {
        match name {
            "INITIALIZING" => Some(DatasetStatus::Initializing),
            "IN PROGRESS" | "running" => Some(DatasetStatus::InProgress),
            "SUCCESS" | "success" => Some(DatasetStatus::Success),
            "FAILED" | "failed" | "sigkill/oom" => Some(DatasetStatus::Failed),
            _ => None,
        }
    }

    /// Whether the job has ended.
    pub fn is_final(self) -> bool {
        matches!(self, DatasetStatus::Success | DatasetStatus::Failed)
    }
}

/// The entry of one dataset in a certificate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatasetEntry {
    /// The dataset's name.
    pub dataname: String,
    /// Its status.
    pub status: DatasetStatus,
    /// When the status was true, by the engine's clock.
    pub time: Option<Timestamp>,
    /// The last non-blank line of output.
    pub last_command: Option<String>,
    /// Percent of one CPU.
    pub cpu: Option<f64>,
    /// Why it failed, if a tool failed: one or more lines.
    pub reason: Option<String>,
    /// The id of its container, if it has one.
    pub container: Option<String>,
}

impl DatasetEntry {
    /// The entry of a dataset of which at most the name is known.
    pub fn initializing(dataname: Option<&str>) -> Self {
        DatasetEntry { dataname: dataname.unwrap_or(UNKNOWN).to_owned(), ..DatasetEntry::default() }
    }

    pub(super) fn line(&self) -> DatasetLine {
        let time = self.time.map(|time| {
            let finished = if self.status.is_final() { " (finished)" } else { "" };
            format!("{}{finished}", time.strftime(TIME_FORMAT))
        });
        DatasetLine {
            dataname: format_value(&self.dataname),
            status: self.status.name().to_owned(),
            time: time.unwrap_or_else(|| UNKNOWN.to_owned()),
            last_command: self.last_command.as_deref().map_or_else(|| UNKNOWN.to_owned(), format_value),
            cpu_usage: self.cpu.map_or_else(|| UNKNOWN.to_owned(), |cpu| format!("{cpu:.1}")),
        }
    }
}

/// A value that cannot break its line or its field.
fn format_value(text: &str) -> String {
    let clean = text::one_line(text).replace('|', "¦");
    match clean.trim() {
        "" => UNKNOWN.to_owned(),
        clean => text::shorten(clean, MAX_VALUE),
    }
}

/// The line of one dataset, as it is written and as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetLine {
    /// The dataset's name.
    pub dataname: String,
    /// One of the names of [`DatasetStatus`] if it is known.
    pub status: String,
    /// `%Y_%m_%d_%H_%M_%S`, and ` (finished)` after the last one.
    pub time: String,
    /// The last non-blank line of output.
    pub last_command: String,
    /// Percent of one CPU.
    pub cpu_usage: String,
}

impl DatasetLine {
    /// Whether the line has this status in the platform's word.
    pub fn has_status(&self, status: DatasetStatus) -> bool {
        self.status == status.name()
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let (dataname, rest) = line.strip_prefix("DATANAME: ")?.split_once(" | STATUS: ")?;
        let (status, rest) = rest.split_once(" | TIME: ")?;
        // Other writers leave ` | ` in what the program printed.
        let (time, rest) = rest.split_once(" | LAST COMMAND: ").unwrap_or((rest, UNKNOWN));
        let (last_command, cpu_usage) = rest.rsplit_once(" | CPU_USAGE: ").unwrap_or((rest, UNKNOWN));
        let [dataname, status, time, last_command, cpu_usage] =
            [dataname, status, time, last_command, cpu_usage].map(str::to_owned);
        Some(DatasetLine { dataname, status, time, last_command, cpu_usage })
    }
}

impl fmt::Display for DatasetLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatasetLine { dataname, status, time, last_command, cpu_usage } = self;
        write!(
            f,
            "DATANAME: {dataname} | STATUS: {status} | TIME: {time} | LAST COMMAND: {last_command} | CPU_USAGE: {cpu_usage}"
        )
    }
}
