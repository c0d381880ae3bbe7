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
/// The section by which the platform's client finds the container of each dataset: first a line for each container, then a
/// line for each dataset, which refers to the container's line by its number from 1.
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

    /// Merges the certificate of another writer into this one: the lines and failures of its `own` datasets (numbers from
    /// 1), and of datasets that this certificate has no line for; and its set-up log if that is longer.
    ///
    /// The certificate in the bucket takes over the local one of a pushed job in this way: no machine changes the lines of
    /// datasets that run on others.
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

/// Changes the certificate in a job's folder, which is created if there is none, under the lock of its writers.
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
mod tests {
    use super::*;

    fn entry(dataname: &str, last_command: &str) -> DatasetEntry {
        DatasetEntry {
            dataname: dataname.to_owned(),
            status: DatasetStatus::InProgress,
            time: Some("2026-11-22T10:24:55.9Z".parse().unwrap()),
            last_command: Some(last_command.to_owned()),
            cpu: Some(97.23),
            ..DatasetEntry::default()
        }
    }

    /// The text after a change to the certificate of so many datasets.
    fn changed(old: &str, datasets: usize, number: usize, entry: &DatasetEntry) -> String {
        let mut certificate = Certificate::parse(old);
        certificate.add_datasets(&[], datasets);
        certificate.set(number, entry);
        certificate.to_string()
    }

    /// The dataset lines, found as the platform's client finds them.
    fn dataset_lines(certificate: &str) -> Vec<&str> {
        let lines: Vec<&str> = certificate.split('\n').collect();
        let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
        assert_eq!(dividers.len(), 2, "{certificate}");
        lines[dividers[0] + 1..dividers[1]].to_vec()
    }

    #[test]
    fn a_certificate_has_the_platforms_form() {
        let text = changed("", 1, 1, &entry("lab/inputs/session1.npy", "fitting 15 components"));
        let expected = "PER ENVIRONMENT MONITORING:\n================\nDATANAME: lab/inputs/session1.npy | STATUS: IN PROGRESS \
            | TIME: 2026_11_22_10_24_55 | LAST COMMAND: fitting 15 components | CPU_USAGE: 97.2\n================\n";
        assert!(text.starts_with(expected), "{text}");
        let done = DatasetEntry { status: DatasetStatus::Success, ..entry("x", "y") };
        assert!(changed(&text, 1, 1, &done).contains("| TIME: 2026_11_22_10_24_55 (finished) |"));
    }

    #[test]
    fn text_from_outside_stays_in_its_field() {
        let hostile =
            ["a | STATUS: SUCCESS | b", "================", "\n================\n", "\r\u{1b}[31m\0\u{85}\u{2028}x"];
        for last_command in hostile {
            let text = changed("", 2, 2, &entry("a | b.npy", last_command));
            let lines = dataset_lines(&text);
            assert_eq!(lines.len(), 2);
            assert_eq!(lines[1].split(" | ").count(), 5, "{}", lines[1]);
            assert!(lines[1].starts_with("DATANAME: a ¦ b.npy | STATUS: IN PROGRESS"), "{}", lines[1]);
        }
        let long = changed("", 1, 1, &entry("x", &"é".repeat(1_000_000)));
        assert!(long.len() < 3000);
    }

    #[test]
    fn every_dataset_keeps_its_line_in_any_order_of_writing() {
        let mut text = String::new();
        for number in [3, 1, 5, 2, 4, 1, 3] {
            text = changed(&text, 5, number, &entry(&format!("d{number}"), "x"));
        }
        let names: Vec<&str> = dataset_lines(&text).iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(names, ["d1", "d2", "d3", "d4", "d5"]);
    }

    #[test]
    fn a_dataset_without_a_writer_is_initializing() {
        let mut certificate = Certificate::default();
        certificate.add_datasets(&["lab/inputs/a.npy", "lab/inputs/b.npy"].map(str::to_owned), 2);
        certificate.set(2, &entry("lab/inputs/b.npy", "x"));
        assert_eq!(
            dataset_lines(&certificate.to_string())[0],
            "DATANAME: lab/inputs/a.npy | STATUS: INITIALIZING | TIME: N/A | LAST COMMAND: N/A | CPU_USAGE: N/A"
        );
    }

    #[test]
    fn the_setup_log_and_the_failures_of_others_stay() {
        let event = |time: &str, event: &str| SetupEvent { time: time.to_owned(), event: event.to_owned() };
        let mut certificate = Certificate::default();
        certificate.add_datasets(&[], 2);
        certificate.set_setup(&[
            event("2026-11-22T10:00:00Z", "found the submission"),
            event("2026-11-22T11:01:02.345Z", "================"),
        ]);
        let failed = DatasetEntry {
            status: DatasetStatus::Failed,
            reason: Some("no config\n\nno dataset".to_owned()),
            ..entry("b", "x")
        };
        certificate.set(2, &failed);
        let mut certificate = Certificate::parse(&certificate.to_string());
        certificate.set(1, &entry("a", "y"));
        certificate.set_setup(&[]);
        let text = certificate.to_string();
        assert!(text.contains("\nENVIRONMENT SETUP LOG:\n[+0:00:00.00] found the submission\n[+1:01:02.34] ======"));
        assert!(text.ends_with("\nFAILURES:\ndataset 2: no config\ndataset 2: no dataset\n"), "{text}");
        assert_eq!(dataset_lines(&text).len(), 2);
        assert_eq!(Certificate::parse(&text), certificate);
        let again = changed(&text, 2, 2, &entry("b", "x"));
        assert!(!again.contains("FAILURES"));
    }

    #[test]
    fn the_platforms_client_finds_the_container_of_each_dataset() {
        let started = |name: &str, id: &str| DatasetEntry { container: Some(id.to_owned()), ..entry(name, "x") };
        let mut certificate = Certificate::default();
        certificate.add_datasets(&["lab/inputs/a.npy".to_owned()], 3);
        certificate.set(3, &started("lab/inputs/set/", "c3"));
        certificate.set(1, &entry("lab/inputs/a.npy", "x"));
        let mut others = Certificate::default();
        others.set(2, &started("lab/inputs/b [+1].npy", "c2"));
        others.set(3, &started("lab/inputs/set/", "forged') created!"));
        certificate.merge(&others, 2..=2);
        let text = certificate.to_string();
        assert_eq!(Certificate::parse(&text), certificate);
        // The client counts the containers' lines, and then looks for each number.
        let between = |line: &str, before: &str, after: &str| {
            let rest = line.split(before).nth(1)?;
            Some(rest.split(after).next().unwrap().trim().to_owned())
        };
        let of_lines = |before: &str, after: &str| -> Vec<String> {
            text.lines().filter_map(|line| between(line, before, after)).collect()
        };
        assert_eq!(of_lines("[Utils] New instance ec2.Instance(id='", "') created!"), ["c2", "c3"]);
        assert_eq!(of_lines("Starting analysis ", " with parameter set "), ["1", "2"]);
        assert_eq!(of_lines(" with parameter set ", "[+"), ["b", "set"]);
        assert_eq!(dataset_lines(&text).len(), 3);
    }

    #[test]
    fn merging_changes_the_lines_of_the_own_datasets_only() {
        let certificate = |words: [&str; 3], count: usize, failed: Option<usize>| {
            let mut certificate = Certificate::default();
            for (at, word) in words.iter().take(count).enumerate() {
                let reason = (failed == Some(at + 1)).then(|| format!("{word} failed"));
                certificate.set(at + 1, &DatasetEntry { reason, ..entry(&format!("d{}", at + 1), word) });
            }
            certificate
        };
        // The bucket's lines, ours, the own datasets; the words and failures expected.
        let cases = [
            (3, 3, 2..=2, ["theirs 1", "ours 2", "theirs 3"], vec![1]),
            (3, 3, 1..=1, ["ours 1", "theirs 2", "theirs 3"], vec![]),
            (3, 3, 1..=3, ["ours 1", "ours 2", "ours 3"], vec![3]),
            (0, 3, 2..=2, ["ours 1", "ours 2", "ours 3"], vec![3]),
            (3, 1, 2..=2, ["theirs 1", "theirs 2", "theirs 3"], vec![1]),
        ];
        for (at, (theirs, ours, own, words, failed)) in cases.into_iter().enumerate() {
            let mut bucket = certificate(["theirs 1", "theirs 2", "theirs 3"], theirs, Some(1));
            bucket.merge(&certificate(["ours 1", "ours 2", "ours 3"], ours, Some(3)), own);
            let lines = bucket.lines();
            assert_eq!(lines.iter().map(|line| line.last_command.as_str()).collect::<Vec<_>>(), words, "case {at}");
            assert_eq!(bucket.failures.iter().map(|(number, _)| *number).collect::<Vec<_>>(), failed, "case {at}");
        }
    }

    #[test]
    fn a_record_is_about_its_own_dataset_or_all_of_a_refused_submission() {
        let datasets = |line: &str| datasets_of_record(&Record::parse(line.as_bytes()).unwrap());
        assert_eq!(datasets(r#"{"job":{"id":"x","dataset":3,"datasets":5},"dataname":"a"}"#), 3..=3);
        assert_eq!(datasets(r#"{"job":{"id":"x"},"dataname":["a","b"]}"#), 1..=2);
        assert_eq!(datasets("{}"), 1..=1);
    }

    #[test]
    fn the_platforms_certificate_is_read_by_position() {
        let text = "PER ENVIRONMENT MONITORING:\r\n================\r\n\
            DATANAME: lab/inputs/a.npy | STATUS: IN PROGRESS | TIME: 2026_11_22_10_24_55 | LAST COMMAND: a | b | CPU_USAGE: 97.2\n\
            DATANAME: lab/inputs/b.npy | STATUS: SUCCESS | TIME: 2026_11_22_10_24_55 (finished)\n\
            ================\nDATANAME: not one | STATUS: X | TIME: y\n";
        let lines = Certificate::parse(text).lines();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].status.as_str(), lines[0].last_command.as_str()), ("IN PROGRESS", "a | b"));
        assert_eq!((lines[1].dataname.as_str(), lines[1].last_command.as_str()), ("lab/inputs/b.npy", "N/A"));
        for text in ["", "================", "x\ny"] {
            assert!(Certificate::parse(text).lines().is_empty(), "{text}");
        }
    }

    #[test]
    fn concurrent_writers_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::create(&folder.path().join("logs")).and_then(|_| Folder::open(folder.path())).unwrap();
        std::thread::scope(|scope| {
            for number in 1..=40 {
                let folder = &folder;
                scope.spawn(move || {
                    for turn in 0..3 {
                        let own = entry(&format!("d{number}"), &format!("{turn}"));
                        update(folder, |certificate| certificate.set(number, &own)).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(folder.path().join("logs/certificate.txt")).unwrap();
        for (at, line) in dataset_lines(&text).iter().enumerate() {
            assert!(line.starts_with(&format!("DATANAME: d{} ", at + 1)) && line.contains("COMMAND: 2 "), "{line}");
        }
    }
}
