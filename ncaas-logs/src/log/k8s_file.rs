//! The files of Podman's `k8s-file` driver, which it also calls `json-file`: `<time> <stream> <F or P> <text>`, a line for
//! each line of output (F) or fragment of one (P).

use super::entry::{Stamp, Stream};

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

#[cfg(test)]
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
}
