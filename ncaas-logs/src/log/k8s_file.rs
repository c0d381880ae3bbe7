//! Parses lines of Podman's `k8s-file` log driver, which it also calls `json-file`: `<time> <stream> <F or P> <text>`,
//! where F marks a full line and P a part of one.

use super::entry::{LogEntry, LogTime, Stream};

/// A parsed line.
#[derive(Debug, PartialEq)]
pub(super) struct LoggedText<'a> {
    pub(super) stamp: LogTime,
    pub(super) stream: Stream,
    /// The text, without a line break.
    pub(super) text: &'a [u8],
    /// Whether a line break follows it.
    pub(super) is_full: bool,
}

impl<'a> LoggedText<'a> {
    /// An entry of Podman's stream.
    pub(super) fn from_entry(entry: &LogEntry<'a>) -> Self {
        let LogEntry { stamp, stream, bytes, .. } = *entry;
        let text = bytes.strip_suffix(b"\n");
        LoggedText { stamp, stream, text: text.unwrap_or(bytes), is_full: text.is_some() }
    }
}

/// Parses one line. Returns none if it is not in this format.
pub(super) fn parse(line: &[u8]) -> Option<LoggedText<'_>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let stamp = LogTime::parse(words.next()?)?;
    let stream = Stream::from_name(words.next()?)?;
    let is_full = match words.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(LoggedText { stamp, stream, text: words.next()?, is_full })
}

/// The longest fragment that is given: the Docker Engine cuts long lines at this length.
const FRAGMENT: usize = 16 << 10;

/// Joins the parts of lines, which Podman cuts wherever one read ended, and cuts them as the Docker Engine does.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    open: [Option<(LogTime, Vec<u8>)>; 2],
}

impl Fragments {
    /// Adds a line's text, and gives the entries that it completes.
    pub(super) fn push(&mut self, logged: &LoggedText<'_>, give: &mut impl FnMut(&LogEntry<'_>)) {
        let stream = logged.stream;
        let (stamp, bytes) = self.open[stream as usize].get_or_insert_with(|| (logged.stamp, Vec::new()));
        bytes.extend_from_slice(logged.text);
        bytes.extend(logged.is_full.then_some(b'\n'));
        while bytes.len() > FRAGMENT {
            give(&LogEntry { stamp: *stamp, stream, bytes: &bytes[..FRAGMENT], details: b"" });
            bytes.drain(..FRAGMENT);
        }
        if logged.is_full {
            give(&LogEntry { stamp: *stamp, stream, bytes, details: b"" });
            self.open[stream as usize] = None;
        }
    }

    /// Gives the last parts, which no line break ends.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(&LogEntry<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some((stamp, bytes)) = self.open[stream as usize].take() {
                give(&LogEntry { stamp, stream, bytes: &bytes, details: b"" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_lines_and_parts_are_parsed_and_other_text_is_refused() {
        let read =
            |text: &'static str| parse(text.as_bytes()).map(|logged| (logged.stream, logged.text, logged.is_full));
        let at = "2026-11-24T09:16:05.132147644+00:00";
        assert_eq!(
            parse(format!("{at} stdout F x").as_bytes()).map(|logged| logged.stamp.as_str().to_owned()).as_deref(),
            Some("2026-11-24T09:16:05.132147644Z")
        );
        assert_eq!(read("2026-11-24T09:16:05Z stdout F a  b "), Some((Stream::Stdout, b"a  b ".as_slice(), true)));
        assert_eq!(read("2026-11-24T09:16:05Z stderr P "), Some((Stream::Stderr, b"".as_slice(), false)));
        for other in ["2026-11-24T09:16:05Z stdout X a", "2026-11-24T09:16:05Z stdout F", "yesterday stdout F a", ""] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn parts_are_joined_and_cut_as_the_docker_engine_cuts_lines() {
        let mut fragments = Fragments::default();
        let mut entries = Vec::new();
        let long = "x".repeat(10_000);
        for text in ["P a", "F b", &format!("P {long}"), &format!("P {long}"), "F ", "P rest"] {
            let text = format!("2026-11-24T09:16:05Z stdout {text}");
            let Some(logged) = parse(text.as_bytes()) else { panic!("{text}") };
            fragments.push(&logged, &mut |entry| entries.push(entry.bytes.to_vec()));
        }
        fragments.finish(&mut |entry| entries.push(entry.bytes.to_vec()));
        let lengths: Vec<usize> = entries.iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, FRAGMENT, 20_001 - FRAGMENT, 4]);
        assert_eq!((entries[0].as_slice(), entries[3].as_slice()), (&b"ab\n"[..], &b"rest"[..]));
    }
}
