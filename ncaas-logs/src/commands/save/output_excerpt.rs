//! The beginning and end of a job's output, in bounded memory, and its length.

use std::collections::VecDeque;

use ncaas_core::failure_cause::{SEARCHED_LINES, find_cause};
use ncaas_core::status_file::OutputPart;
use ncaas_core::text;

use crate::log::{Line, LogTime, Stream, last_state};

/// The maximum numbers of lines and bytes that are kept of the beginning and of the end.
const HEAD: usize = 100;
const TAIL: usize = 400;
const HEAD_BYTES: usize = 16 << 10;
const TAIL_BYTES: usize = 48 << 10;

/// The maximum number of bytes that are kept of a line.
const LINE: usize = 4 << 10;

/// An excerpt of a job's output so far.
#[derive(Debug, Default)]
pub(crate) struct OutputExcerpt {
    /// The number of lines on both streams.
    pub(crate) line_count: u64,
    /// The number of bytes on both streams, including line breaks.
    pub(crate) bytes: u64,
    /// The latest time of a line.
    pub(crate) last: Option<LogTime>,
    head: Vec<Vec<u8>>,
    head_bytes: usize,
    head_is_full: bool,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
    /// The last lines on stderr that are not blank, the newest last.
    errors: VecDeque<Vec<u8>>,
    /// Why there is no output.
    missing: Option<String>,
}

impl OutputExcerpt {
    pub(crate) fn push(&mut self, line: &Line<'_>) {
        self.bytes += line.bytes.len() as u64 + u64::from(line.broken);
        self.last = self.last.max(Some(line.stamp));
        if !line.begins {
            return;
        }
        self.line_count += 1;
        let kept = shortened(line.bytes);
        if line.stream == Stream::Stderr && !kept.trim_ascii().is_empty() {
            push_reusing(&mut self.errors, SEARCHED_LINES, kept);
        }
        if !self.head_is_full && self.head.len() < HEAD && self.head_bytes + kept.len() <= HEAD_BYTES {
            self.head_bytes += kept.len();
            self.head.push(kept.to_vec());
            return;
        }
        self.head_is_full = true;
        let mut reused = Vec::new();
        while self.tail.len() >= TAIL || self.tail_bytes + kept.len() > TAIL_BYTES {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.len();
            reused = oldest;
        }
        // Memory is reused: millions of lines pass through here.
        reused.clear();
        reused.extend_from_slice(kept);
        self.tail_bytes += kept.len();
        self.tail.push_back(reused);
    }

    /// Says why there is no output.
    pub(crate) fn explain_missing(&mut self, reason: &str) {
        self.missing = Some(reason.to_owned());
    }

    /// The line that most likely says why the job failed.
    pub(crate) fn cause(&self) -> Option<String> {
        let find = |lines: &mut dyn Iterator<Item = &Vec<u8>>| {
            let lines: Vec<String> = lines.take(SEARCHED_LINES).map(|line| plain_text(line)).collect();
            find_cause(lines.iter().map(String::as_str))
        };
        find(&mut self.errors.iter().rev()).or_else(|| find(&mut self.newest_first()))
    }

    /// The first and last lines, and the gap between them.
    pub(crate) fn output<'a>(&'a self, log_name: &'a str) -> Vec<OutputPart<'a>> {
        let lines = self.line_count - (self.head.len() + self.tail.len()) as u64;
        let gap = (lines > 0).then_some(OutputPart::LeftOut { lines, log_name });
        let missing = self.missing.iter().map(|reason| OutputPart::Line(reason.as_bytes()));
        let head = missing.chain(self.head.iter().map(|line| OutputPart::Line(line)));
        head.chain(gap).chain(self.tail.iter().map(|line| OutputPart::Line(line))).collect()
    }

    /// The last line that is not blank, as a terminal shows it in the end.
    pub(crate) fn last_command(&self) -> Option<String> {
        self.newest_first().map(|line| plain_text(line).trim().to_owned()).find(|line| !line.is_empty())
    }

    fn newest_first(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.tail.iter().rev().chain(self.head.iter().rev())
    }
}

/// Adds a line to the last `count` ones, in the memory of the oldest.
fn push_reusing(lines: &mut VecDeque<Vec<u8>>, count: usize, line: &[u8]) {
    let mut reused = if lines.len() >= count { lines.pop_front().unwrap_or_default() } else { Vec::new() };
    reused.clear();
    reused.extend_from_slice(line);
    lines.push_back(reused);
}

/// The part of a line that is kept: its beginning, or the last state of a long progress bar.
fn shortened(line: &[u8]) -> &[u8] {
    if line.len() <= LINE {
        return line;
    }
    let last = last_state(line);
    &last[..last.len().min(LINE)]
}

/// A line as a terminal would show it in the end: without carriage returns and escape sequences.
fn plain_text(line: &[u8]) -> String {
    text::strip_control(&String::from_utf8_lossy(last_state(line))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> OutputExcerpt {
        let mut excerpt = OutputExcerpt::default();
        for bytes in lines {
            excerpt.push(&Line::whole(LogTime::MIN, Stream::Stdout, bytes));
        }
        excerpt
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let excerpt = excerpt([b"one".as_slice(), b"", b"two"]);
        let lines = [OutputPart::Line(b"one"), OutputPart::Line(b""), OutputPart::Line(b"two")];
        assert_eq!(excerpt.output("x.log"), lines);
        assert_eq!((excerpt.line_count, excerpt.bytes), (3, 9));
    }

    #[test]
    fn the_beginning_and_end_of_a_long_log_are_kept() {
        let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}")).collect();
        let excerpt = excerpt(lines.iter().map(|line| line.as_bytes()));
        let kept = excerpt.output("x.log");
        assert_eq!(kept.len(), HEAD + 1 + TAIL);
        assert_eq!(kept[HEAD], OutputPart::LeftOut { lines: 100_000 - 500, log_name: "x.log" });
        assert_eq!(kept.last(), Some(&OutputPart::Line(b"line 99999")));
        assert_eq!(kept[HEAD + 1], OutputPart::Line(b"line 99600"));
    }

    #[test]
    fn the_cause_is_the_last_line_on_stderr_or_else_on_stdout() {
        let mut excerpt = excerpt([b"step 1".as_slice()]);
        assert_eq!(excerpt.cause().as_deref(), Some("step 1"));
        for bytes in [b"Traceback (most recent call last):".as_slice(), b"\x1b[31mValueError: x\x1b[0m", b" "] {
            excerpt.push(&Line::whole(LogTime::MIN, Stream::Stderr, bytes));
        }
        excerpt.push(&Line::whole(LogTime::MIN, Stream::Stdout, b"bye"));
        assert_eq!(excerpt.cause().as_deref(), Some("ValueError: x"));
    }

    #[test]
    fn long_lines_take_bounded_memory() {
        let line = vec![b'x'; 1 << 20];
        let excerpt = excerpt(std::iter::repeat_n(line.as_slice(), 50));
        let length = |part: &OutputPart<'_>| if let OutputPart::Line(line) = part { line.len() } else { 0 };
        let kept: usize = excerpt.output("x.log").iter().map(length).sum();
        assert!(kept <= HEAD_BYTES + TAIL_BYTES && kept > TAIL_BYTES / 2, "{kept}");
        assert_eq!(excerpt.bytes, 50 * ((1 << 20) + 1));
    }

    #[test]
    fn the_last_command_is_what_a_terminal_shows_last() {
        let last = |lines: &[&[u8]]| excerpt(lines.iter().copied()).last_command();
        assert_eq!(last(&[b"a", b"\x1b[32m 10 %\r\x1b[1;32m 100 %\x1b[0m\r", b"  \t", b""]).as_deref(), Some("100 %"));
        assert_eq!(last(&[b" ", b""]), None);
        assert_eq!(last(&[]), None);
    }
}
