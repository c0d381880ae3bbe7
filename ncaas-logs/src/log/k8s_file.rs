//! The files of Podman's `k8s-file` driver, which it also calls `json-file`: `<time> <stream> <F or P> <text>`, a line for
//! each line of output (F) or fragment of one (P).

use super::entry::{Entry, Stamp, Stream};

/// What a line of such a file holds.
#[derive(Debug, PartialEq)]
pub(super) struct Logged<'a> {
    pub(super) stamp: Stamp,
    pub(super) stream: Stream,
    /// The text, without a line break.
    pub(super) text: &'a [u8],
    /// Whether a line break follows it.
    pub(super) is_full: bool,
}

impl<'a> Logged<'a> {
    /// The same of an entry that Podman has sent.
    pub(super) fn of(entry: &Entry<'a>) -> Self {
        let Entry { stamp, stream, bytes, .. } = *entry;
        let text = bytes.strip_suffix(b"\n");
        Logged { stamp, stream, text: text.unwrap_or(bytes), is_full: text.is_some() }
    }
}

/// Reads one line. None where it is of another kind.
pub(super) fn line(line: &[u8]) -> Option<Logged<'_>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let stamp = Stamp::parse(words.next()?)?;
    let stream = Stream::named(words.next()?)?;
    let is_full = match words.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Logged { stamp, stream, text: words.next()?, is_full })
}

/// The longest fragment that is given: as the Docker Engine cuts long lines.
const FRAGMENT: usize = 16 << 10;

/// Fragments on their way to a line. Podman cuts one wherever what it has read at once ends; they are given as if the
/// Docker Engine had cut it.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    open: [Option<(Stamp, Vec<u8>)>; 2],
}

impl Fragments {
    /// Takes what a line of the file holds, and gives the entries that are whole by it.
    pub(super) fn push(&mut self, logged: &Logged<'_>, give: &mut impl FnMut(&Entry<'_>)) {
        let stream = logged.stream;
        let (stamp, bytes) = self.open[stream as usize].get_or_insert_with(|| (logged.stamp, Vec::new()));
        bytes.extend_from_slice(logged.text);
        bytes.extend(logged.is_full.then_some(b'\n'));
        while bytes.len() > FRAGMENT {
            give(&Entry { stamp: *stamp, stream, bytes: &bytes[..FRAGMENT], details: b"" });
            bytes.drain(..FRAGMENT);
        }
        if logged.is_full {
            give(&Entry { stamp: *stamp, stream, bytes, details: b"" });
            self.open[stream as usize] = None;
        }
    }

    /// Gives what no line break has ended.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(&Entry<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some((stamp, bytes)) = self.open[stream as usize].take() {
                give(&Entry { stamp, stream, bytes: &bytes, details: b"" });
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test whose lines cannot be read has failed")]
mod tests {
    use super::*;

    #[test]
    fn lines_and_fragments_are_told_apart_and_nothing_else_is_read() {
        let read =
            |text: &'static str| line(text.as_bytes()).map(|logged| (logged.stream, logged.text, logged.is_full));
        let at = "2026-11-24T09:16:05.132147644+00:00";
        assert_eq!(
            line(format!("{at} stdout F x").as_bytes()).map(|logged| logged.stamp.as_str().to_owned()).as_deref(),
            Some("2026-11-24T09:16:05.132147644Z")
        );
        assert_eq!(read("2026-11-24T09:16:05Z stdout F a  b "), Some((Stream::Stdout, b"a  b ".as_slice(), true)));
        assert_eq!(read("2026-11-24T09:16:05Z stderr P "), Some((Stream::Stderr, b"".as_slice(), false)));
        for other in ["2026-11-24T09:16:05Z stdout X a", "2026-11-24T09:16:05Z stdout F", "yesterday stdout F a", ""] {
            assert_eq!(line(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn fragments_become_lines_cut_as_the_docker_engine_cuts_them() {
        let mut fragments = Fragments::default();
        let mut entries = Vec::new();
        let long = "x".repeat(10_000);
        for text in ["P a", "F b", &format!("P {long}"), &format!("P {long}"), "F ", "P rest"] {
            let text = format!("2026-11-24T09:16:05Z stdout {text}");
            let Some(logged) = line(text.as_bytes()) else { panic!("{text}") };
            fragments.push(&logged, &mut |entry| entries.push(entry.bytes.to_vec()));
        }
        fragments.finish(&mut |entry| entries.push(entry.bytes.to_vec()));
        let lengths: Vec<usize> = entries.iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, FRAGMENT, 20_001 - FRAGMENT, 4]);
        assert_eq!((entries[0].as_slice(), entries[3].as_slice()), (&b"ab\n"[..], &b"rest"[..]));
    }
}
