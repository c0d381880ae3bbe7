//! The log driver's files, read directly: for root, with an engine on this machine. Thirty times as fast as the engine's
//! stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use ncaas_core::failure::{IoContext, Result};

use super::entry::LogEntry;
use super::file_parser::{FileParser, Lost};
use super::query::Query;

/// How much is read at once. The bytes are parsed while they are still in the processor's cache.
const CHUNK: usize = 256 << 10;

/// The longest line that can be an entry: a fragment with every byte escaped, and attributes. Longer lines are damaged.
const LONGEST: usize = 4 << 20;

/// How often opening is tried while the engine rotates its files, and the time between.
const ATTEMPTS: usize = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);

/// The files of one container's log, oldest first, as they were when opened.
pub(super) struct Files {
    path: PathBuf,
    files: VecDeque<Box<dyn Read>>,
    entries: Entries,
    /// Whether the last file is kept open at its end and read again.
    grows: bool,
}

impl Files {
    /// Opens the log file and the files that it was rotated into. Returns none if this process may not read them.
    pub(super) fn open(path: &Path, query: &Query) -> Option<Self> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(BETWEEN_ATTEMPTS);
            }
            let newest = File::open(path).ok()?;
            let opened = newest.metadata().ok()?.ino();
            let mut files: VecDeque<Box<dyn Read>> = VecDeque::from([Box::new(newest) as _]);
            let is_complete = open_rotated_files(path, |file| files.push_front(file))?;
            // Nothing was rotated meanwhile.
            if is_complete && std::fs::metadata(path).is_ok_and(|now| now.ino() == opened) {
                return Some(Files { path: path.to_owned(), files, entries: Entries::new(query), grows: false });
            }
        }
        None
    }

    /// The same files, of which the last may grow.
    pub(super) fn growing(self) -> Self {
        Files { grows: true, ..self }
    }

    /// Reads a chunk and gives its entries. Returns false at the end.
    pub(super) fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        let is_last = self.files.len() == 1;
        let Some(file) = self.files.front_mut() else { return Ok(false) };
        let read = file.read(self.entries.space()).doing("read", &self.path)?;
        if read == 0 && is_last && self.grows {
            return Ok(false);
        }
        if read == 0 {
            self.files.pop_front();
            self.entries.next_file(&mut give);
        } else {
            self.entries.filled(read, give);
        }
        Ok(!self.files.is_empty())
    }

    /// Gives the rest of a file that does not grow any more.
    pub(super) fn finish(&mut self, give: impl FnMut(&LogEntry<'_>)) {
        self.entries.next_file(give);
    }

    pub(super) fn lost(&self) -> Lost {
        self.entries.lost()
    }
}

/// Opens the files that the log was rotated into, the newest first. Returns none if that is not allowed, and false if the
/// engine is renaming them, the oldest first. The engine removes a file after compressing it: while both exist, the
/// compressed one is incomplete.
fn open_rotated_files(path: &Path, mut give: impl FnMut(Box<dyn Read>)) -> Option<bool> {
    let names = |number: u32| {
        let rotated = with_suffix(path, &format!(".{number}"));
        let compressed = with_suffix(&rotated, ".gz");
        (rotated, compressed)
    };
    for number in 1.. {
        let (rotated, compressed) = names(number);
        match (File::open(&rotated), File::open(&compressed)) {
            (Ok(file), _) => give(Box::new(file)),
            (Err(_), Ok(file)) => give(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            (Err(_), Err(_)) if rotated.exists() || compressed.exists() => return None,
            (Err(_), Err(_)) => {
                let (rotated, compressed) = names(number + 1);
                return Some(!rotated.exists() && !compressed.exists());
            }
        }
    }
    None
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Parses files whose bytes arrive in pieces, and gives the wanted entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    buffer: Vec<u8>,
    filled: usize,
    parser: FileParser,
    query: Query,
}

impl Entries {
    pub(super) fn new(query: &Query) -> Self {
        Entries { parser: FileParser::new(query.details), query: query.clone(), ..Entries::default() }
    }

    pub(super) fn lost(&self) -> Lost {
        self.parser.lost
    }

    /// The space for the next bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.filled > LONGEST {
            self.filled = 0;
            self.parser.lost.damaged += 1;
        }
        if self.buffer.len() < self.filled + CHUNK / 2 {
            self.buffer.resize((self.filled + CHUNK / 2).max(CHUNK), 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Parses the bytes that were put there.
    pub(super) fn filled(&mut self, read: usize, mut give: impl FnMut(&LogEntry<'_>)) {
        self.filled += read;
        let Entries { buffer, parser, query, .. } = self;
        let used = parser.parse(&buffer[..self.filled], |entry| {
            if query.wants(entry) {
                give(entry);
            }
        });
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
    }

    /// Ends a file. An incomplete last line was still being written.
    pub(super) fn next_file(&mut self, mut give: impl FnMut(&LogEntry<'_>)) {
        self.filled = 0;
        let Entries { parser, query, .. } = self;
        parser.finish(|entry| {
            if query.wants(entry) {
                give(entry);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn entry(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}}\n")
    }

    fn read(path: &Path) -> Vec<String> {
        let mut files = Files::open(path, &Query::default()).unwrap();
        let mut texts = Vec::new();
        while files.read(|entry| texts.push(String::from_utf8_lossy(entry.bytes).trim().to_owned())).unwrap() {}
        texts
    }

    #[test]
    fn rotated_files_come_first_and_an_incomplete_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        std::fs::write(with_suffix(&path, ".2"), entry("oldest")).unwrap();
        std::fs::write(with_suffix(&path, ".1"), entry("older")).unwrap();
        std::fs::write(&path, entry("new") + "{\"log\":\"half").unwrap();
        assert_eq!(read(&path), ["oldest", "older", "new"]);
        // In the middle of a rotation.
        std::fs::remove_file(with_suffix(&path, ".1")).unwrap();
        assert!(Files::open(&path, &Query::default()).is_none(), "there are older lines which cannot be read now");
    }

    #[test]
    fn a_compressed_file_is_read_once_it_has_replaced_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        compressed.write_all(entry("oldest").as_bytes()).unwrap();
        std::fs::write(with_suffix(&path, ".2.gz"), compressed.finish().unwrap()).unwrap();
        std::fs::write(with_suffix(&path, ".1"), entry("older")).unwrap();
        std::fs::write(with_suffix(&path, ".1.gz"), "being written").unwrap();
        std::fs::write(&path, entry("new")).unwrap();
        assert_eq!(read(&path), ["oldest", "older", "new"]);
    }

    #[test]
    fn entries_across_chunks_are_parsed_and_overlong_damage_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        let long = "y".repeat(16 << 10);
        let mut text: String = std::iter::repeat_n(entry(&long), 40).collect();
        text.push_str(&"\0".repeat(2 * LONGEST));
        text.push('\n');
        text.push_str(&entry("after"));
        std::fs::write(&path, text).unwrap();
        let texts = read(&path);
        assert_eq!(texts.len(), 41);
        assert_eq!(texts.last().unwrap(), "after");
    }
}
