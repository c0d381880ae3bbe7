//! Lines as text for people: local times, stderr in colour on a terminal, progress bars in their last state.

use std::borrow::Cow;
use std::io::IsTerminal;

use jiff::tz::TimeZone;
use ncaas_core::text;

use crate::log::{Line, LogTime, Stream, last_state};

/// The length of a stamp up to its seconds.
const SECONDS: usize = 19;

#[derive(Debug)]
pub(super) struct TextFormat {
    zone: TimeZone,
    colour: bool,
    /// Whether lines are preceded by their details, in the engine's form.
    details: bool,
    /// The last second and its local form: most lines share it with the line before.
    second: ([u8; SECONDS], Vec<u8>),
}

impl TextFormat {
    pub(super) fn new(details: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        TextFormat {
            zone: TimeZone::system(),
            details,
            colour: std::io::stdout().is_terminal() && !plain,
            second: ([0; SECONDS], Vec::new()),
        }
    }

    /// Adds a line to `out`, with `prefix` before it.
    pub(super) fn push(&mut self, line: &Line<'_>, prefix: &[u8], out: &mut Vec<u8>) {
        if line.begins {
            if self.colour {
                out.extend_from_slice(b"\x1b[2m");
            }
            out.extend_from_slice(prefix);
            self.push_time(line.stamp, out);
            out.push(b' ');
            if self.details && !line.details.is_empty() {
                out.extend_from_slice(line.details);
                out.push(b' ');
            }
            if self.colour {
                out.extend_from_slice(b"\x1b[0m");
            }
        }
        let shown = if line.begins && line.ends { last_state(line.bytes) } else { line.bytes };
        let shown = without_control_sequences(shown);
        if self.colour && line.stream == Stream::Stderr {
            out.extend_from_slice(b"\x1b[31m");
            out.extend_from_slice(&shown);
            out.extend_from_slice(b"\x1b[0m");
        } else {
            out.extend_from_slice(&shown);
        }
        if line.ends {
            out.push(b'\n');
        }
    }

    fn push_time(&mut self, stamp: LogTime, out: &mut Vec<u8>) {
        let text = stamp.as_bytes();
        if self.second.0 != text[..SECONDS] {
            self.second.0.copy_from_slice(&text[..SECONDS]);
            let local = stamp.time().map(|time| self.zone.to_datetime(time));
            self.second.1 = local.map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default().into();
        }
        out.extend_from_slice(&self.second.1);
        // People need no more than milliseconds.
        out.extend_from_slice(&text[SECONDS..SECONDS + 4]);
    }
}

/// The text of a line as a terminal may show it.
fn without_control_sequences(line: &[u8]) -> Cow<'_, [u8]> {
    // Nearly all lines are plain ASCII. Without an early exit, the compiler checks many bytes at once.
    let is_plain = |byte: u8| (byte.wrapping_sub(b' ') <= b'~' - b' ') | (byte == b'\t');
    if line.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(line);
    Cow::Owned(text::strip_control(&text).replace('\n', " ").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(lines: &[(&str, Stream, &[u8])], colour: bool) -> String {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let mut text = TextFormat { zone, colour, details: false, second: ([0; SECONDS], Vec::new()) };
        let mut out = Vec::new();
        for &(time, stream, bytes) in lines {
            let stamp = LogTime::parse(time.as_bytes()).unwrap();
            text.push(&Line::whole(stamp, stream, bytes), b"", &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_sequences_are_left_out() {
        let line = b"\x1b]52;c;ZXZpbA==\x07a\x1b[2J\xc2\x9b31mb \xffc";
        let shown = rendered(&[("2026-11-22T22:59:59Z", Stream::Stdout, line)], false);
        assert_eq!(shown, "2026-11-22 23:59:59.000 ab \u{FFFD}c\n");
    }

    #[test]
    fn times_are_local_and_progress_bars_show_their_last_state() {
        let lines: [(&str, Stream, &[u8]); 3] = [
            ("2026-11-22T22:59:59.9999Z", Stream::Stdout, b"a"),
            ("2026-11-22T23:00:00.001Z", Stream::Stderr, b" 10 %\r 50 %\r100 %\r"),
            ("2026-11-22T23:00:00.5Z", Stream::Stdout, b""),
        ];
        let expected = "2026-11-22 23:59:59.999 a\n2026-11-23 00:00:00.001 100 %\n2026-11-23 00:00:00.500 \n";
        assert_eq!(rendered(&lines, false), expected);
        assert!(rendered(&lines, true).contains("\x1b[31m100 %\x1b[0m\n"));
    }
}
