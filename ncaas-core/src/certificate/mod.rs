//! `certificate.txt`: one for each submission, with a line for each of its datasets.
//!
//! The platform's readers find these lines by position, between the only two lines of sixteen `=` in the file, and by
//! `DATANAME: (.*?) |`. Text from outside must therefore stay on its line and in its field. Several writers, in one
//! process or in many, each replace the lines of their own datasets under a lock.

mod dataset_line;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;

use crate::failure::Result;
use crate::folder::Folder;
use crate::layout::{CERTIFICATE, LOGS};
use crate::record::Record;
use crate::record::fields::{Datasets, SetupEvent};
use crate::text;
pub use dataset_line::{DatasetEntry, DatasetLine, DatasetStatus, UNKNOWN};

const TITLE: &str = "PER ENVIRONMENT MONITORING:";
/// The line before and after the lines of the datasets.
const DIVIDER: &str = "================";
const EXPLANATION: &str = "\
The lines above show the status of each dataset of this submission. The files beside this one, for each dataset:
DATASET_NAME:<dataset>_STATUS.txt: the status, and the first and last lines of the output, as JSON.
<dataset>.log: the whole output; each line has its time (UTC) and its stream.
<dataset>.record.json: the job's record, written when the job has ended. It holds everything needed to run the job again.
";
const SETUP: &str = "ENVIRONMENT SETUP LOG:";
const FAILURES: &str = "FAILURES:";
/// The section by which the platform's client finds the container of each dataset: first a line for each container,
/// then a line for each dataset, which refers to the container's line by its number from 1.
const CONTAINERS: &str = "CONTAINERS:";
/// Before and after the id of a container.
const CONTAINER: [&str; 2] = ["[Utils] New instance ec2.Instance(id='", "') created!"];
/// The largest certificate that is read, in bytes: much more than the datasets of a submission need.
pub const MAX_SIZE: u64 = 64 << 20;

/// A certificate in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Certificate {
    /// The lines of the datasets, in the order of their numbers.
    lines: Vec<String>,
    /// The set-up log, a line for each event.
    setup: Vec<String>,
    /// Why datasets failed: the dataset's number and a line of text, in the order of the numbers.
    failures: Vec<(usize, String)>,
    /// The container's id by the dataset's number.
    containers: BTreeMap<usize, String>,
}

impl Certificate {
    /// Reads a certificate, ours or the platform's. Any other text gives an empty certificate.
    pub fn parse(text: &str) -> Self {
        let mut certificate = Certificate::default();
        let mut lines = text.lines().skip_while(|line| *line != DIVIDER).skip(1);
        certificate.lines = lines.by_ref().take_while(|line| *line != DIVIDER).map(str::to_owned).collect();
        let mut section = "";
        for line in lines {
            match line {
                SETUP | CONTAINERS | FAILURES | "" => section = line,
                line if section == SETUP => certificate.setup.push(line.to_owned()),
                line if section == FAILURES => certificate.failures.extend(parse_numbered(line)),
                line if section == CONTAINERS => certificate.containers.extend(parse_container(line)),
                _ => {}
            }
        }
        certificate
    }

    /// The valid lines of the datasets, in the order of their numbers.
    pub fn lines(&self) -> Vec<DatasetLine> {
        self.lines.iter().filter_map(|line| DatasetLine::parse(line)).collect()
    }

    /// Adds lines until there is one for each of `count` datasets, with the known names.
    pub fn add_datasets(&mut self, datanames: &[String], count: usize) {
        for number in self.lines.len()..count.max(datanames.len()) {
            self.lines.push(DatasetEntry::initializing(datanames.get(number).map(String::as_str)).line().to_string());
        }
    }

    /// Replaces the line of dataset `number`, counted from 1, and the reasons of its failure.
    pub fn set(&mut self, number: usize, entry: &DatasetEntry) {
        let number = number.max(1);
        self.add_datasets(&[], number);
        if let Some(line) = self.lines.get_mut(number - 1) {
            *line = entry.line().to_string();
        }
        self.set_reason(number, entry.reason.as_deref().unwrap_or_default());
        let is_id = |id: &&String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.containers.extend(entry.container.as_ref().filter(is_id).map(|id| (number, id.clone())));
    }

    /// Gives dataset `number`, counted from 1, the status FAILED, with the reason. The rest of its line stays.
    pub fn fail(&mut self, number: usize, reason: &str) {
        let number = number.max(1);
        self.add_datasets(&[], number);
        if let Some(line) = self.lines.get_mut(number - 1)
            && let Some(parsed) = DatasetLine::parse(line)
        {
            *line = DatasetLine { status: DatasetStatus::Failed.name().to_owned(), ..parsed }.to_string();
        }
        self.set_reason(number, reason);
    }

    fn set_reason(&mut self, number: usize, reason: &str) {
        self.failures.retain(|(other, _)| *other != number);
        let reasons = reason.lines().map(str::trim).filter(|line| !line.is_empty());
        let own = reasons.map(|line| (number, text::one_line(line)));
        let at = self.failures.partition_point(|(other, _)| *other < number);
        self.failures.splice(at..at, own);
    }

    /// Merges the certificate of another writer into this one: the lines and failures of its `own` datasets (numbers
    /// from 1), and of datasets that this certificate has no line for; and its set-up log if that is longer.
    ///
    /// The certificate in the bucket takes over the local one of a pushed job in this way: no machine changes the lines
    /// of datasets that run on others.
    pub fn merge(&mut self, other: &Certificate, own: RangeInclusive<usize>) {
        let known = self.lines.len();
        for (at, line) in other.lines.iter().enumerate() {
            let number = at + 1;
            if at >= known {
                self.lines.push(line.clone());
            } else if own.contains(&number) {
                self.lines[at].clone_from(line);
            } else {
                continue;
            }
            self.failures.retain(|(failed, _)| *failed != number);
            self.failures.extend(other.failures.iter().filter(|(failed, _)| *failed == number).cloned());
            self.containers.extend(other.containers.get(&number).map(|id| (number, id.clone())));
        }
        self.failures.sort_by_key(|(number, _)| *number);
        if other.setup.len() > self.setup.len() {
            self.setup.clone_from(&other.setup);
        }
    }

    /// Replaces the set-up log, unless there are no events.
    pub fn set_setup(&mut self, events: &[SetupEvent]) {
        if !events.is_empty() {
            self.setup = setup_log(events);
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\n{DIVIDER}")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{DIVIDER}\n{}", EXPLANATION.trim_end())?;
        if !self.setup.is_empty() {
            writeln!(f, "\n{SETUP}\n{}", self.setup.join("\n"))?;
        }
        if !self.containers.is_empty() {
            let [before, after] = CONTAINER;
            writeln!(f, "\n{CONTAINERS}")?;
            self.containers.iter().try_for_each(|(number, id)| writeln!(f, "dataset {number}: {before}{id}{after}"))?;
            for (number, at) in self.containers.keys().zip(1..) {
                let line = self.lines.get(number - 1).and_then(|line| DatasetLine::parse(line));
                let name = line.map_or(UNKNOWN.to_owned(), |line| text::base_name(&line.dataname).to_owned());
                writeln!(f, "dataset {number}: Starting analysis {at} with parameter set {name} [+]")?;
            }
        }
        if !self.failures.is_empty() {
            writeln!(f, "\n{FAILURES}")?;
            self.failures.iter().try_for_each(|(number, line)| writeln!(f, "dataset {number}: {line}"))?;
        }
        Ok(())
    }
}

/// `dataset 1: TEXT`
fn parse_numbered(line: &str) -> Option<(usize, String)> {
    let (number, text) = line.strip_prefix("dataset ")?.split_once(": ")?;
    Some((number.parse().ok().filter(|number| *number > 0)?, text.to_owned()))
}

fn parse_container(line: &str) -> Option<(usize, String)> {
    let (number, text) = parse_numbered(line)?;
    let [before, after] = CONTAINER;
    Some((number, text.strip_prefix(before)?.strip_suffix(after)?.to_owned()))
}

/// Each event with its offset from the first: `[+0:00:01.23] event`.
fn setup_log(events: &[SetupEvent]) -> Vec<String> {
    let time = |event: &SetupEvent| event.time.parse::<Timestamp>().ok();
    let start = events.iter().find_map(time);
    let line = |event: &SetupEvent| {
        let offset = time(event).zip(start).map(|(time, start)| time.duration_since(start));
        let hundredths = offset.map_or(0, |offset| offset.as_millis().max(0) / 10);
        let (seconds, rest) = (hundredths / 100, hundredths % 100);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut line = format!("[+{hours}:{minutes:02}:{seconds:02}.{rest:02}] ");
        // Writing into a string cannot fail.
        line.write_str(&text::one_line(&event.event)).unwrap_or(());
        line
    };
    events.iter().map(line).collect()
}

/// The numbers of the datasets that a record is about: its own one, or all of a submission that was refused as a whole.
pub fn datasets_of_record(record: &Record) -> RangeInclusive<usize> {
    match record.dataname() {
        Some(Datasets::Many(names)) if names.len() > 1 => 1..=names.len(),
        _ => {
            let number = record.job().and_then(|job| usize::try_from(job.dataset).ok()).unwrap_or(1).max(1);
            number..=number
        }
    }
}

/// Locks the certificate of a job, applies `change`, and writes it. Creates it if it does not exist.
///
/// # Errors
/// When the job's logs cannot be written.
pub fn update(job: &Folder, change: impl FnOnce(&mut Certificate)) -> Result<()> {
    let _held = job.lock(Path::new(LOGS), "certificate")?;
    let path = Path::new(LOGS).join(CERTIFICATE);
    let old = job.read(&path, MAX_SIZE).unwrap_or_default();
    let mut certificate = Certificate::parse(&String::from_utf8_lossy(&old));
    change(&mut certificate);
    let new = certificate.to_string();
    if new.as_bytes() == old { Ok(()) } else { job.write_whole(&path, new.as_bytes()) }
}

#[cfg(test)]
mod tests;
