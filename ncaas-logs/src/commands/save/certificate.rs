//! `certificate.txt`: one for a submission, with a line for each of its datasets.
//!
//! The platform's readers find the datasets' lines by position, between the only two lines of sixteen `=` in the file,
//! and by `DATANAME: (.*?) |`. Whatever a program printed must therefore stay on its line and in its field. Several
//! writers, of one process or many, each replace their own line under a lock.

use std::fmt::Write;
use std::path::Path;

use jiff::Timestamp;
use ncaas_core::failure::Result;
use ncaas_core::folder::Folder;
use ncaas_core::layout::{CERTIFICATE, LOGS};
use ncaas_core::record::fields::SetupEvent;

const TITLE: &str = "PER ENVIRONMENT MONITORING:";
const DIVIDER: &str = "================";
const EXPLANATION: &str = "\
The lines above tell how each dataset of this submission fares. Beside this file lie, for each dataset:
DATASET_NAME:<dataset>_STATUS.txt, how its analysis fares and the beginning and end of what it printed, as JSON;
<dataset>.log, all that it printed, each line with its time in UTC and its stream;
<dataset>.record.json, once it has ended: the whole record of the job, with all that is needed to run it again.
";
const SETUP: &str = "ENVIRONMENT SETUP LOG:";
const REASONS: &str = "FAILURES:";
/// How much of an old certificate is read, in bytes: far more than the datasets of a submission take.
const LARGEST: u64 = 64 << 20;

/// How a dataset fares, in the platform's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Initializing,
    InProgress,
    Success,
    Failed,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Initializing => "INITIALIZING",
            Stage::InProgress => "IN PROGRESS",
            Stage::Success => "SUCCESS",
            Stage::Failed => "FAILED",
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Stage::Success | Stage::Failed)
    }
}

/// What one dataset's line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dataname: String,
    pub(crate) stage: Stage,
    /// By the engine's clock.
    pub(crate) time: Option<Timestamp>,
    /// The last non-blank line of its output.
    pub(crate) last_command: Option<String>,
    /// Percent of one CPU.
    pub(crate) cpu: Option<f64>,
    /// Why it failed, where a tool could not do its work. Line breaks in it stay.
    pub(crate) reason: Option<String>,
}

impl Entry {
    /// The line of a dataset of which nothing is known but, maybe, its name.
    pub(crate) fn unknown(dataname: Option<&str>) -> Self {
        let dataname = dataname.unwrap_or("N/A").to_owned();
        Entry { dataname, stage: Stage::Initializing, time: None, last_command: None, cpu: None, reason: None }
    }

    fn to_line(&self) -> String {
        let time = self.time.map(|time| {
            let finished = if self.stage.is_final() { " (finished)" } else { "" };
            format!("{}{finished}", time.strftime("%Y_%m_%d_%H_%M_%S"))
        });
        format!(
            "DATANAME: {} | STATUS: {} | TIME: {} | LAST COMMAND: {} | CPU_USAGE: {}",
            value(&self.dataname),
            self.stage.name(),
            time.as_deref().unwrap_or("N/A"),
            self.last_command.as_deref().map_or("N/A".into(), value),
            self.cpu.map_or("N/A".to_owned(), |cpu| format!("{cpu:.1}")),
        )
    }
}

/// A value that cannot break its line or its field.
fn value(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    for (count, character) in text.trim().chars().enumerate() {
        if count == LONGEST {
            clean.push('…');
            break;
        }
        clean.push(match character {
            '|' => '¦',
            // Readers that know more line breaks than we do must find none either.
            '\u{2028}' | '\u{2029}' => ' ',
            character if character.is_control() => ' ',
            character => character,
        });
    }
    if clean.is_empty() { "N/A".to_owned() } else { clean }
}

/// What the certificate says of the submission as a whole.
#[derive(Debug, Default)]
pub(crate) struct Submission {
    /// Names of all its datasets in their order, as far as they are known.
    pub(crate) datanames: Vec<String>,
    /// How many there are.
    pub(crate) datasets: usize,
    pub(crate) setup: Vec<SetupEvent>,
}

/// Replaces the line of dataset `number` (from 1) in the job's certificate, which is made where it is not there.
///
/// # Errors
/// When the job's logs cannot be written.
pub(crate) fn update(job: &Folder, submission: &Submission, number: usize, entry: &Entry) -> Result<()> {
    let _held = job.lock(Path::new(LOGS), "certificate")?;
    let path = Path::new(LOGS).join(CERTIFICATE);
    let old = job.read(&path, LARGEST).unwrap_or_default();
    let new = replace(&String::from_utf8_lossy(&old), submission, number, entry);
    if new.as_bytes() == old { Ok(()) } else { job.write_whole(&path, new.as_bytes()) }
}

/// The certificate's new text, given its old one.
fn replace(old: &str, submission: &Submission, number: usize, entry: &Entry) -> String {
    let old = Old::parse(old);
    let count = submission.datasets.max(submission.datanames.len()).max(number).max(1);
    let mut text = format!("{TITLE}\n{DIVIDER}\n");
    for at in 1..=count {
        if at == number {
            text.push_str(&entry.to_line());
        } else if let Some(line) = old.lines.get(at - 1) {
            text.push_str(line);
        } else {
            text.push_str(&Entry::unknown(submission.datanames.get(at - 1).map(String::as_str)).to_line());
        }
        text.push('\n');
    }
    text.push_str(DIVIDER);
    text.push('\n');
    text.push_str(EXPLANATION);
    let own = setup_log(&submission.setup);
    let setup = if own.is_empty() { old.setup.join("\n") } else { own };
    if !setup.is_empty() {
        text.push_str(&format!("\n{SETUP}\n{}\n", setup.trim_end()));
    }
    let own_prefix = reason_prefix(number);
    let others = old.reasons.iter().filter(|line| !line.starts_with(&own_prefix)).map(|line| (*line).to_owned());
    let own = entry.reason.iter().flat_map(|reason| reason_lines(number, reason));
    let mut reasons: Vec<String> = others.chain(own).collect();
    // By dataset; within one, in the order in which they were given.
    reasons.sort_by_key(|line| line.split(':').next().and_then(|head| head.get(8..)?.parse::<usize>().ok()));
    if !reasons.is_empty() {
        text.push_str(&format!("\n{REASONS}\n{}\n", reasons.join("\n")));
    }
    text
}

fn reason_prefix(number: usize) -> String {
    format!("dataset {number}: ")
}

fn reason_lines(number: usize, reason: &str) -> Vec<String> {
    let lines = reason.split('\n').map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| format!("{}{}", reason_prefix(number), value_of_text(line))).collect()
}

/// Free text on one line: no control characters, and of any length.
fn value_of_text(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Each event with its offset from the first: `[+0:00:01.23] event`.
fn setup_log(events: &[SetupEvent]) -> String {
    let start = events.iter().find_map(|event| event.time.parse::<Timestamp>().ok());
    let mut log = String::new();
    for SetupEvent { time, event } in events {
        let offset = time.parse::<Timestamp>().ok().zip(start).map(|(time, start)| time.duration_since(start));
        let hundredths = offset.map_or(0, |offset| offset.as_millis().max(0) / 10);
        let (seconds, rest) = (hundredths / 100, hundredths % 100);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        // Writing into a string cannot fail.
        writeln!(log, "[+{hours}:{minutes:02}:{seconds:02}.{rest:02}] {}", value_of_text(event)).unwrap_or(());
    }
    log
}

/// What of an old certificate is kept.
#[derive(Debug, Default)]
struct Old<'a> {
    lines: Vec<&'a str>,
    setup: Vec<&'a str>,
    reasons: Vec<&'a str>,
}

impl<'a> Old<'a> {
    fn parse(text: &'a str) -> Self {
        let mut old = Old::default();
        let mut lines = text.split('\n').skip_while(|line| *line != DIVIDER).skip(1);
        old.lines = lines.by_ref().take_while(|line| *line != DIVIDER).collect();
        let mut into: Option<&mut Vec<&str>> = None;
        for line in lines {
            match line {
                SETUP => into = Some(&mut old.setup),
                REASONS => into = Some(&mut old.reasons),
                "" => into = None,
                line => {
                    if let Some(into) = &mut into {
                        into.push(line);
                    }
                }
            }
        }
        old
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose certificate cannot be read has failed")]
mod tests {
    use super::*;

    fn submission(datasets: usize) -> Submission {
        Submission { datasets, ..Submission::default() }
    }

    fn entry(dataname: &str, last_command: &str) -> Entry {
        Entry {
            dataname: dataname.to_owned(),
            stage: Stage::InProgress,
            time: Some("2026-11-22T10:24:55.9Z".parse().unwrap()),
            last_command: Some(last_command.to_owned()),
            cpu: Some(97.23),
            reason: None,
        }
    }

    /// The dataset lines, found as the platform's client finds them.
    fn dataset_lines(certificate: &str) -> Vec<&str> {
        let lines: Vec<&str> = certificate.split('\n').collect();
        let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
        assert_eq!(dividers.len(), 2, "{certificate}");
        lines[dividers[0] + 1..dividers[1]].to_vec()
    }

    #[test]
    fn a_certificate_reads_as_the_platforms_does() {
        let text = replace("", &submission(1), 1, &entry("lab/inputs/session1.npy", "fitting 15 components"));
        let expected = "PER ENVIRONMENT MONITORING:\n================\nDATANAME: lab/inputs/session1.npy | STATUS: IN PROGRESS \
            | TIME: 2026_11_22_10_24_55 | LAST COMMAND: fitting 15 components | CPU_USAGE: 97.2\n================\n";
        assert!(text.starts_with(expected), "{text}");
        let done = Entry { stage: Stage::Success, ..entry("x", "y") };
        assert!(replace(&text, &submission(1), 1, &done).contains("| TIME: 2026_11_22_10_24_55 (finished) |"));
    }

    #[test]
    fn nothing_that_a_program_prints_breaks_its_line() {
        let hostile =
            ["a | STATUS: SUCCESS | b", "================", "\n================\n", "\r\u{1b}[31m\0\u{85}\u{2028}x"];
        for last_command in hostile {
            let text = replace("", &submission(2), 2, &entry("a | b.npy", last_command));
            let lines = dataset_lines(&text);
            assert_eq!(lines.len(), 2);
            assert_eq!(lines[1].split(" | ").count(), 5, "{}", lines[1]);
            assert!(lines[1].starts_with("DATANAME: a ¦ b.npy | STATUS: IN PROGRESS"), "{}", lines[1]);
        }
        let long = replace("", &submission(1), 1, &entry("x", &"é".repeat(1_000_000)));
        assert!(long.len() < 3000);
    }

    #[test]
    fn every_dataset_keeps_its_line_in_any_order_of_writing() {
        let mut text = String::new();
        for number in [3, 1, 5, 2, 4, 1, 3] {
            text = replace(&text, &submission(5), number, &entry(&format!("d{number}"), "x"));
        }
        let names: Vec<&str> = dataset_lines(&text).iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(names, ["d1", "d2", "d3", "d4", "d5"]);
    }

    #[test]
    fn a_dataset_that_nobody_has_written_of_yet_has_its_line() {
        let names = ["lab/inputs/a.npy", "lab/inputs/b.npy"].map(str::to_owned).to_vec();
        let known = Submission { datanames: names, datasets: 2, setup: Vec::new() };
        let text = replace("", &known, 2, &entry("lab/inputs/b.npy", "x"));
        assert_eq!(
            dataset_lines(&text)[0],
            "DATANAME: lab/inputs/a.npy | STATUS: INITIALIZING | TIME: N/A | LAST COMMAND: N/A | CPU_USAGE: N/A"
        );
    }

    #[test]
    fn the_setup_log_and_the_failures_of_others_stay() {
        let event = |time: &str, event: &str| SetupEvent { time: time.to_owned(), event: event.to_owned() };
        let setup = vec![
            event("2026-11-22T10:00:00Z", "found the submission"),
            event("2026-11-22T11:01:02.345Z", "================"),
        ];
        let known = Submission { setup, ..submission(2) };
        let failed =
            Entry { stage: Stage::Failed, reason: Some("no config\n\nno dataset".to_owned()), ..entry("b", "x") };
        let text = replace("", &known, 2, &failed);
        let text = replace(&text, &submission(2), 1, &entry("a", "y"));
        assert!(text.contains("\nENVIRONMENT SETUP LOG:\n[+0:00:00.00] found the submission\n[+1:01:02.34] ======"));
        assert!(text.ends_with("\nFAILURES:\ndataset 2: no config\ndataset 2: no dataset\n"), "{text}");
        assert_eq!(dataset_lines(&text).len(), 2);
        let again = replace(&text, &submission(2), 2, &entry("b", "x"));
        assert!(!again.contains("FAILURES"));
    }

    #[test]
    fn many_writers_at_once_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::make(&folder.path().join("logs")).and_then(|_| Folder::open(folder.path())).unwrap();
        std::thread::scope(|scope| {
            for number in 1..=40 {
                let folder = &folder;
                scope.spawn(move || {
                    for turn in 0..3 {
                        update(folder, &submission(40), number, &entry(&format!("d{number}"), &format!("{turn}")))
                            .unwrap();
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
