//! What has been heard of a job so far: how much, and the beginning and end of it, in bounded memory.

use std::collections::VecDeque;

use crate::log::{Line, Stamp};

/// How many lines of the beginning and of the end are kept, and how many bytes of each of the two parts.
const HEAD: usize = 100;
const TAIL: usize = 400;
const HEAD_BYTES: usize = 16 << 10;
const TAIL_BYTES: usize = 48 << 10;

/// How much of one line is kept, in bytes.
const LINE: usize = 4 << 10;

/// A job's output so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Lines on both streams.
    pub(crate) lines: u64,
    /// Bytes on both streams, line breaks included.
    pub(crate) bytes: u64,
    /// The latest time of a line.
    pub(crate) last: Option<Stamp>,
    head: Vec<Vec<u8>>,
    head_bytes: usize,
    head_is_full: bool,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
}

impl Heard {
    pub(crate) fn push(&mut self, line: &Line<'_>) {
        self.bytes += line.bytes.len() as u64 + u64::from(line.broken);
        self.last = self.last.max(Some(line.stamp));
        if !line.begins {
            return;
        }
        self.lines += 1;
        let kept = keep(line.bytes);
        if !self.head_is_full && self.head.len() < HEAD && self.head_bytes + kept.len() <= HEAD_BYTES {
            self.head_bytes += kept.len();
            self.head.push(kept.to_vec());
            return;
        }
        self.head_is_full = true;
        let mut place = Vec::new();
        while self.tail.len() >= TAIL || self.tail_bytes + kept.len() > TAIL_BYTES {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.len();
            place = oldest;
        }
        // Its memory is used again: millions of lines pass through here.
        place.clear();
        place.extend_from_slice(kept);
        self.tail_bytes += kept.len();
        self.tail.push_back(place);
    }

    /// The lines that are kept, each with its number from 0, and where lines are left out between.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
        let head = self.head.iter().enumerate().map(|(number, line)| Kept::Line(number as u64, line));
        let first_of_tail = self.lines - self.tail.len() as u64;
        let left_out = first_of_tail - self.head.len() as u64;
        let gap = (left_out > 0).then_some(Kept::Gap { number: self.head.len() as u64, left_out });
        let tail = self.tail.iter().zip(first_of_tail..).map(|(line, number)| Kept::Line(number, line));
        head.chain(gap).chain(tail)
    }

    /// The last line that is not blank, as it stood in the end.
    pub(crate) fn last_command(&self) -> Option<String> {
        let lines = self.tail.iter().rev().chain(self.head.iter().rev());
        lines.map(|line| shown(line)).find(|line| !line.is_empty())
    }
}

/// What is kept of the output.
#[derive(Debug, PartialEq)]
pub(crate) enum Kept<'a> {
    Line(u64, &'a [u8]),
    Gap { number: u64, left_out: u64 },
}

/// As much of a line as is kept: its beginning, or what a long progress bar came to.
fn keep(line: &[u8]) -> &[u8] {
    if line.len() <= LINE {
        return line;
    }
    let last = last_state(line);
    &last[..last.len().min(LINE)]
}

/// What a line with carriage returns in it shows in the end.
pub(crate) fn last_state(line: &[u8]) -> &[u8] {
    let Some(end) = line.iter().rposition(|&byte| byte != b'\r') else { return &[] };
    let line = &line[..=end];
    match memchr::memrchr(b'\r', line) {
        Some(at) => &line[at + 1..],
        None => line,
    }
}

/// A line as a terminal would show it in the end: without carriage returns and escape sequences.
fn shown(line: &[u8]) -> String {
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

    fn heard<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Heard {
        let mut heard = Heard::default();
        for bytes in lines {
            let stamp = Stamp::MIN;
            heard.push(&Line {
                stamp,
                stream: Stream::Stdout,
                bytes,
                begins: true,
                ends: true,
                broken: true,
                details: b"",
            });
        }
        heard
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let heard = heard([b"one".as_slice(), b"", b"two"]);
        let kept: Vec<Kept<'_>> = heard.kept().collect();
        assert_eq!(kept, [Kept::Line(0, b"one"), Kept::Line(1, b""), Kept::Line(2, b"two")]);
        assert_eq!((heard.lines, heard.bytes), (3, 9));
    }

    #[test]
    fn a_long_log_keeps_its_ends_and_says_how_much_is_left_out() {
        let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}")).collect();
        let heard = heard(lines.iter().map(|line| line.as_bytes()));
        let kept: Vec<Kept<'_>> = heard.kept().collect();
        assert_eq!(kept.len(), HEAD + 1 + TAIL);
        assert_eq!(kept[HEAD], Kept::Gap { number: 100, left_out: 100_000 - 500 });
        assert_eq!(kept.last(), Some(&Kept::Line(99_999, b"line 99999")));
        assert_eq!(kept[HEAD + 1], Kept::Line(99_600, b"line 99600"));
    }

    #[test]
    fn long_lines_take_bounded_memory() {
        let line = vec![b'x'; 1 << 20];
        let heard = heard(std::iter::repeat_n(line.as_slice(), 50));
        let kept: usize = heard.kept().map(|kept| if let Kept::Line(_, line) = kept { line.len() } else { 0 }).sum();
        assert!(kept <= HEAD_BYTES + TAIL_BYTES && kept > TAIL_BYTES / 2, "{kept}");
        assert_eq!(heard.bytes, 50 * ((1 << 20) + 1));
    }

    #[test]
    fn the_last_command_is_what_a_terminal_shows_last() {
        let last = |lines: &[&[u8]]| heard(lines.iter().copied()).last_command();
        assert_eq!(last(&[b"a", b"\x1b[32m 10 %\r\x1b[1;32m 100 %\x1b[0m\r", b"  \t", b""]).as_deref(), Some("100 %"));
        assert_eq!(last(&[b" ", b""]), None);
        assert_eq!(last(&[]), None);
    }
}
