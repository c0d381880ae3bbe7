//! Reads a log that `save` wrote, `<dataset>.log`: lines of the form `TIME STREAM TEXT`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use memchr::memchr;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use tokio::task::yield_now;

use super::entry::{LogEntry, LogTime, STAMP, Stream};
use super::line::EntrySource;
use super::query::Query;

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// Longer lines are given in pieces of this length, which are joined like an engine's fragments and are not shorter
/// than those.
const PIECE: usize = 64 << 10;
/// `TIME STREAM `.
const HEAD: usize = STAMP + 1 + 6 + 1;

/// A saved log that is being read.
pub(crate) struct SavedLog {
    path: PathBuf,
    file: File,
    query: Query,
    buffer: Vec<u8>,
    filled: usize,
    /// The line of which a piece was given.
    open: Option<(LogTime, Stream)>,
    /// The number of the current line, from 1.
    number: u64,
}

impl SavedLog {
    /// Reads an open file; `path` is for messages.
    pub(crate) fn new(file: File, path: &Path, query: Query) -> Self {
        SavedLog { path: path.to_owned(), file, query, buffer: vec![0; CHUNK], filled: 0, open: None, number: 1 }
    }

    fn parse(&mut self, is_end: bool, give: &mut impl FnMut(&LogEntry<'_>)) -> Result<usize> {
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..self.filled];
            if rest.is_empty() || (rest.len() < HEAD && self.open.is_none() && !is_end) {
                return Ok(at);
            }
            let Some((stamp, stream)) = self.open.or_else(|| parse_head(rest)) else { return Err(self.invalid_line()) };
            let text = if self.open.is_some() { rest } else { &rest[HEAD..] };
            let length = match memchr(b'\n', text) {
                Some(end) => end + 1,
                None if is_end => text.len(),
                None if text.len() >= PIECE => PIECE,
                None => return Ok(at),
            };
            let bytes = &text[..length];
            let entry = LogEntry { stamp, stream, bytes, details: b"" };
            if self.query.wants(&entry) {
                give(&entry);
            }
            at += rest.len() - text.len() + length;
            let is_whole = bytes.ends_with(b"\n");
            self.open = if is_whole { None } else { Some((stamp, stream)) };
            self.number += u64::from(is_whole);
        }
    }

    fn invalid_line(&self) -> Failure {
        let (path, number) = (self.path.display(), self.number);
        Failure::new(
            Kind::BadRecord,
            format!("`{path}` is not a log that `ncaas-logs save` wrote: line {number} has no time and stream"),
        )
        .hint("each line of such a log begins with a time and a stream: `2026-11-22T10:24:55.517032643Z stdout `")
    }
}

impl EntrySource for SavedLog {
    /// Fails if the file is not such a log.
    async fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        // A long file must not keep others waiting.
        yield_now().await;
        let read = self.file.read(&mut self.buffer[self.filled..]).doing("read", &self.path)?;
        self.filled += read;
        let used = self.parse(read == 0, &mut give)?;
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
        Ok(read > 0)
    }
}

fn parse_head(line: &[u8]) -> Option<(LogTime, Stream)> {
    let head = line.get(..HEAD)?;
    let is_spaced = head[STAMP] == b' ' && head[HEAD - 1] == b' ';
    Some((LogTime::parse(&head[..STAMP])?, Stream::from_name(&head[STAMP + 1..HEAD - 1])?)).filter(|_| is_spaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Line, LineReader};

    async fn read(content: &[u8]) -> Result<Vec<(String, usize, bool)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::fs::write(&path, content).unwrap();
        let mut log = LineReader::new(SavedLog::new(File::open(&path).unwrap(), &path, Query::default()));
        let mut lines = Vec::new();
        let mut keep = |line: &Line<'_>| {
            let start = String::from_utf8_lossy(&line.bytes[..line.bytes.len().min(9)]).into_owned();
            lines.push((format!("{} {start}", line.stream.name()), line.bytes.len(), line.broken));
        };
        while log.read(&mut keep).await? {}
        Ok(lines)
    }

    #[tokio::test]
    async fn lines_of_any_length_are_read_as_they_were_saved() {
        let time = "2026-11-22T10:24:55.517032643Z";
        for long in [1, 16 << 10, PIECE - HEAD, PIECE, PIECE + 1, CHUNK, 2 * CHUNK + 7] {
            let (text, last) = ("x".repeat(long), "y".repeat(long));
            let content =
                format!("{time} stdout {text}\n{time} stderr \n{time} stdout a\r\u{e9} b\n{time} stderr {last}");
            let expected = [("stdout xxxxxxxxx", long, true), ("stderr ", 0, true), ("stdout a\ré b", 6, true)];
            let mut lines = read(content.as_bytes()).await.unwrap();
            let (last, end) = (lines.pop().unwrap(), (long, false));
            assert_eq!((last.1, last.2), end);
            for (line, expected) in lines.iter().zip(expected) {
                assert!(expected.0.starts_with(&line.0), "{line:?}");
                assert_eq!((line.1, line.2), (expected.1, expected.2), "{line:?}");
            }
            assert_eq!(lines.len(), 3);
        }
    }

    #[tokio::test]
    async fn other_files_are_refused() {
        let failure = read(b"2026-11-22T10:24:55.517032643Z stdout a\nsome text\n").await.unwrap_err();
        assert!(failure.message.contains("line 2 has no time"), "{failure:?}");
        assert!(read(b"\x7fELF").await.is_err());
        assert!(read(b"").await.unwrap().is_empty());
    }
}
