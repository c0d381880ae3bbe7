//! Lines, put together again from the engine's entries.
//!
//! The engine cuts a line into fragments of exactly 16 KiB, each an entry of its own with the time of the first; the
//! last of them ends in the line break. The two streams' fragments come mixed.

use super::entry::{Entry, Stamp, Stream};

/// What the engine holds back of a line before it makes an entry of it (moby's copier). Where a driver replaces what is
/// no UTF-8 a fragment grows; none shrinks.
const FRAGMENT: usize = 16 << 10;

/// The longest line that is held in memory, of which several copies may wait for a slow reader. Of a longer one come
/// pieces.
const LONGEST: usize = 2 << 20;

/// A line of output, or a piece of a very long one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line<'a> {
    /// When its beginning was read.
    pub(crate) stamp: Stamp,
    pub(crate) stream: Stream,
    /// Without the line break.
    pub(crate) bytes: &'a [u8],
    /// Whether this is a line's beginning.
    pub(crate) begins: bool,
    /// Whether this is a line's end.
    pub(crate) ends: bool,
    /// Whether a line break was written after it: not after the last line of some programs.
    pub(crate) broken: bool,
    /// As of its [`Entry`].
    pub(crate) details: &'a [u8],
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(crate) struct Rejoin {
    open: [Open; 2],
}

/// A stream's line that has begun and not ended.
#[derive(Debug, Default)]
struct Open {
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
    details: Vec<u8>,
    /// Whether a piece of it is out already.
    continued: bool,
}

impl Rejoin {
    /// Takes an entry, and gives the line that it ends, if it ends one.
    pub(crate) fn push(&mut self, entry: &Entry<'_>, mut give: impl FnMut(&Line<'_>)) {
        let Entry { stamp, stream, bytes, details } = *entry;
        let (bytes, broken) = bytes.strip_suffix(b"\n").map_or((bytes, false), |bytes| (bytes, true));
        // A driver may lose a long line's last line break (`local` on 20.10); what is shorter than a fragment ends.
        let ends = broken || bytes.len() < FRAGMENT;
        let open = &mut self.open[stream as usize];
        if ends && open.stamp.is_none() {
            return give(&Line { stamp, stream, bytes, begins: true, ends, broken, details });
        }
        open.bytes.extend_from_slice(bytes);
        if open.stamp.is_none() {
            open.details = details.to_vec();
        }
        let stamp = *open.stamp.get_or_insert(stamp);
        if ends || open.bytes.len() >= LONGEST {
            give(&Line {
                stamp,
                stream,
                bytes: &open.bytes,
                begins: !open.continued,
                ends,
                broken,
                details: &open.details,
            });
            // A long line's memory is not kept for the short ones after it.
            open.bytes = Vec::new();
            open.continued = !ends;
            if ends {
                open.stamp = None;
            }
        }
    }

    /// Gives the lines that the log's end has ended.
    pub(crate) fn finish(&mut self, mut give: impl FnMut(&Line<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let open = std::mem::take(&mut self.open[stream as usize]);
            if let Some(stamp) = open.stamp {
                let Open { bytes, details, continued, .. } = &open;
                give(&Line { stamp, stream, bytes, begins: !continued, ends: true, broken: false, details });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(entries: &[(Stream, &[u8])]) -> Vec<(Stream, Vec<u8>, bool, bool)> {
        let mut lines = Vec::new();
        let mut rejoin = Rejoin::default();
        let mut keep = |line: &Line<'_>| lines.push((line.stream, line.bytes.to_vec(), line.begins, line.ends));
        for &(stream, bytes) in entries {
            rejoin.push(&Entry { stamp: Stamp::MIN, stream, bytes, details: b"" }, &mut keep);
        }
        rejoin.finish(&mut keep);
        lines
    }

    #[test]
    fn fragments_of_two_streams_are_kept_apart() {
        let full = vec![b'a'; FRAGMENT];
        let other = vec![b'b'; FRAGMENT];
        let lines = joined(&[
            (Stream::Stdout, &full),
            (Stream::Stderr, &other),
            (Stream::Stdout, b"end\n"),
            (Stream::Stderr, b"\n"),
            (Stream::Stdout, b"short"),
        ]);
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[0].0, lines[0].1.len()), (Stream::Stdout, FRAGMENT + 3));
        assert_eq!(lines[1], (Stream::Stderr, other, true, true));
        assert_eq!(lines[2].1, b"short");
    }

    #[test]
    fn a_line_whose_break_the_driver_lost_is_not_glued_to_the_next() {
        let full = vec![b'a'; FRAGMENT];
        let lines = joined(&[(Stream::Stdout, &full), (Stream::Stdout, b"end"), (Stream::Stdout, b"next\n")]);
        assert_eq!(lines.iter().map(|line| line.1.len()).collect::<Vec<_>>(), [FRAGMENT + 3, 4]);
    }

    #[test]
    fn a_line_too_long_to_hold_comes_in_pieces_and_whole() {
        let full = vec![b'a'; FRAGMENT];
        let mut entries = vec![(Stream::Stdout, full.as_slice()); LONGEST / FRAGMENT + 1];
        entries.push((Stream::Stdout, b"\n"));
        let lines = joined(&entries);
        assert_eq!(lines.iter().map(|line| (line.2, line.3)).collect::<Vec<_>>(), [(true, false), (false, true)]);
        assert_eq!(lines.iter().map(|line| line.1.len()).sum::<usize>(), LONGEST + FRAGMENT);
    }

    #[test]
    fn a_log_that_ends_within_a_line_gives_what_there_is() {
        let full = vec![b'a'; FRAGMENT];
        assert_eq!(joined(&[(Stream::Stderr, &full)])[0].1.len(), FRAGMENT);
        assert!(joined(&[]).is_empty());
    }
}
