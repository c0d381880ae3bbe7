//! Lines of output, joined from the engine's entries.
//!
//! The engine cuts a line into fragments of exactly 16 KiB, each an entry with the time of the first. The last one ends
//! in the line break. Fragments of the two streams are interleaved.

use ncaas_core::failure::Result;

use super::entry::{LogEntry, LogTime, Stream};

/// How much of a line the engine buffers before it makes an entry (moby's copier). Fragments grow when a driver
/// replaces invalid UTF-8, and never shrink.
const FRAGMENT: usize = 16 << 10;

/// The longest line that is held in memory, where several copies may wait for a slow reader. Longer lines are given in
/// pieces.
const LONGEST: usize = 2 << 20;

/// A line of output, or a piece of a very long one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line<'a> {
    /// When the engine read its beginning.
    pub(crate) stamp: LogTime,
    pub(crate) stream: Stream,
    /// Without the line break.
    pub(crate) bytes: &'a [u8],
    /// Whether it is the beginning of a line.
    pub(crate) begins: bool,
    pub(crate) ends: bool,
    /// Whether a line break follows. Some programs write none after their last line.
    pub(crate) broken: bool,
    /// See [`LogEntry`].
    pub(crate) details: &'a [u8],
}

impl<'a> Line<'a> {
    /// A whole line without attributes.
    pub(crate) fn whole(stamp: LogTime, stream: Stream, bytes: &'a [u8]) -> Self {
        Line { stamp, stream, bytes, begins: true, ends: true, broken: true, details: b"" }
    }
}

/// The last state of a line that a program has rewritten with carriage returns, such as a progress bar.
pub(crate) fn last_state(line: &[u8]) -> &[u8] {
    let Some(end) = line.iter().rposition(|&byte| byte != b'\r') else { return &[] };
    let line = &line[..=end];
    match memchr::memrchr(b'\r', line) {
        Some(at) => &line[at + 1..],
        None => line,
    }
}

/// Joins entries to lines.
#[derive(Debug, Default)]
struct LineJoiner {
    open: [OpenLine; 2],
}

/// The incomplete line of a stream.
#[derive(Debug, Default)]
struct OpenLine {
    stamp: Option<LogTime>,
    bytes: Vec<u8>,
    details: Vec<u8>,
    /// Whether a piece of it has been given.
    continued: bool,
}

impl LineJoiner {
    /// Adds an entry, and gives the line that it completes.
    fn push(&mut self, entry: &LogEntry<'_>, mut give: impl FnMut(&Line<'_>)) {
        let LogEntry { stamp, stream, bytes, details } = *entry;
        let (bytes, broken) = bytes.strip_suffix(b"\n").map_or((bytes, false), |bytes| (bytes, true));
        // The driver `local` of 20.10 loses the line break of a long line. An entry shorter than a fragment ends the
        // line.
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

    /// Gives the incomplete lines at the end of the log.
    fn finish(&mut self, mut give: impl FnMut(&Line<'_>)) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let open = std::mem::take(&mut self.open[stream as usize]);
            if let Some(stamp) = open.stamp {
                let OpenLine { bytes, details, continued, .. } = &open;
                give(&Line { stamp, stream, bytes, begins: !continued, ends: true, broken: false, details });
            }
        }
    }
}

/// A log whose entries are read a piece at a time.
pub(crate) trait EntrySource {
    /// Waits for entries and gives them. Returns false at the end of the log.
    ///
    /// It may be dropped at any time and called again; no entry is lost.
    async fn read(&mut self, give: impl FnMut(&LogEntry<'_>)) -> Result<bool>;
}

pub(crate) struct LineReader<S> {
    pub(crate) source: S,
    rejoin: LineJoiner,
    /// How many entries were read.
    pub(crate) entries: usize,
}

impl<S: EntrySource> LineReader<S> {
    pub(crate) fn new(source: S) -> Self {
        LineReader { source, rejoin: LineJoiner::default(), entries: 0 }
    }

    /// Waits for lines and gives them. Returns false at the end of the log. As [`EntrySource::read`], it may be
    /// dropped.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Line<'_>)) -> Result<bool> {
        let LineReader { source, rejoin, entries } = self;
        let push = |entry: &LogEntry<'_>| {
            *entries += 1;
            rejoin.push(entry, &mut give);
        };
        let more = source.read(push).await?;
        if !more {
            self.finish(give);
        }
        Ok(more)
    }

    /// Gives the incomplete lines of a log that is not read any further.
    pub(crate) fn finish(&mut self, give: impl FnMut(&Line<'_>)) {
        self.rejoin.finish(give);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(entries: &[(Stream, &[u8])]) -> Vec<(Stream, Vec<u8>, bool, bool)> {
        let mut lines = Vec::new();
        let mut rejoin = LineJoiner::default();
        let mut keep = |line: &Line<'_>| lines.push((line.stream, line.bytes.to_vec(), line.begins, line.ends));
        for &(stream, bytes) in entries {
            rejoin.push(&LogEntry { stamp: LogTime::MIN, stream, bytes, details: b"" }, &mut keep);
        }
        rejoin.finish(&mut keep);
        lines
    }

    #[test]
    fn fragments_of_the_two_streams_are_joined_separately() {
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
    fn a_line_whose_line_break_the_driver_lost_is_not_joined_to_the_next() {
        let full = vec![b'a'; FRAGMENT];
        let lines = joined(&[(Stream::Stdout, &full), (Stream::Stdout, b"end"), (Stream::Stdout, b"next\n")]);
        assert_eq!(lines.iter().map(|line| line.1.len()).collect::<Vec<_>>(), [FRAGMENT + 3, 4]);
    }

    #[test]
    fn a_very_long_line_is_given_in_pieces() {
        let full = vec![b'a'; FRAGMENT];
        let mut entries = vec![(Stream::Stdout, full.as_slice()); LONGEST / FRAGMENT + 1];
        entries.push((Stream::Stdout, b"\n"));
        let lines = joined(&entries);
        assert_eq!(lines.iter().map(|line| (line.2, line.3)).collect::<Vec<_>>(), [(true, false), (false, true)]);
        assert_eq!(lines.iter().map(|line| line.1.len()).sum::<usize>(), LONGEST + FRAGMENT);
    }

    #[test]
    fn a_log_that_ends_within_a_line_gives_its_beginning() {
        let full = vec![b'a'; FRAGMENT];
        assert_eq!(joined(&[(Stream::Stderr, &full)])[0].1.len(), FRAGMENT);
        assert!(joined(&[]).is_empty());
    }
}
