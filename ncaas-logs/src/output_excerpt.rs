//! The beginning and end of a job's output, in bounded memory, and its length.

use std::collections::VecDeque;

use crate::log::{Line, Stamp, last_state};

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
    pub(crate) last: Option<Stamp>,
    head: Vec<Vec<u8>>,
    head_bytes: usize,
    head_is_full: bool,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
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

    /// The kept lines, each with its number from 0, and the gap between beginning and end.
    pub(crate) fn lines(&self) -> impl Iterator<Item = ExcerptLine<'_>> {
        let head = self.head.iter().enumerate().map(|(number, line)| ExcerptLine::Line(number as u64, line));
        let first_of_tail = self.line_count - self.tail.len() as u64;
        let left_out = first_of_tail - self.head.len() as u64;
        let gap = (left_out > 0).then_some(ExcerptLine::Gap { number: self.head.len() as u64, left_out });
        let tail = self.tail.iter().zip(first_of_tail..).map(|(line, number)| ExcerptLine::Line(number, line));
        head.chain(gap).chain(tail)
    }

    /// The last line that is not blank, as a terminal shows it in the end.
    pub(crate) fn last_command(&self) -> Option<String> {
        let lines = self.tail.iter().rev().chain(self.head.iter().rev());
        lines.map(|line| plain_text(line)).find(|line| !line.is_empty())
    }
}

/// A line of an excerpt, or the gap in it.
#[derive(Debug, PartialEq)]
pub(crate) enum ExcerptLine<'a> {
    Line(u64, &'a [u8]),
    Gap { number: u64, left_out: u64 },
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
    let text = String::from_utf8_lossy(last_state(line));
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A control sequence ends in a letter or one of `@[\]^_`{|}~` (ECMA-48).
            if characters.next_if_eq(&'[').is_some() {
                characters.by_ref().find(|last| ('@'..='~').contains(last));
            } else {
                characters.next();
            }
        } else if !character.is_control() || character == '\t' {
            shown.push(character);
        }
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Stream;

    fn excerpt<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> OutputExcerpt {
        let mut excerpt = OutputExcerpt::default();
        for bytes in lines {
            let stamp = Stamp::MIN;
            excerpt.push(&Line {
                stamp,
                stream: Stream::Stdout,
                bytes,
                begins: true,
                ends: true,
                broken: true,
                details: b"",
            });
        }
        excerpt
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let excerpt = excerpt([b"one".as_slice(), b"", b"two"]);
        let kept: Vec<ExcerptLine<'_>> = excerpt.lines().collect();
        assert_eq!(kept, [ExcerptLine::Line(0, b"one"), ExcerptLine::Line(1, b""), ExcerptLine::Line(2, b"two")]);
        assert_eq!((excerpt.line_count, excerpt.bytes), (3, 9));
    }

    #[test]
    fn the_beginning_and_end_of_a_long_log_are_kept() {
        let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}")).collect();
        let excerpt = excerpt(lines.iter().map(|line| line.as_bytes()));
        let kept: Vec<ExcerptLine<'_>> = excerpt.lines().collect();
        assert_eq!(kept.len(), HEAD + 1 + TAIL);
        assert_eq!(kept[HEAD], ExcerptLine::Gap { number: 100, left_out: 100_000 - 500 });
        assert_eq!(kept.last(), Some(&ExcerptLine::Line(99_999, b"line 99999")));
        assert_eq!(kept[HEAD + 1], ExcerptLine::Line(99_600, b"line 99600"));
    }

    #[test]
    fn long_lines_take_bounded_memory() {
        let line = vec![b'x'; 1 << 20];
        let excerpt = excerpt(std::iter::repeat_n(line.as_slice(), 50));
        let kept: usize =
            excerpt.lines().map(|kept| if let ExcerptLine::Line(_, line) = kept { line.len() } else { 0 }).sum();
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
