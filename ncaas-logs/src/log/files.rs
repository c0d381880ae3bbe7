//! The log driver's files, read directly: for root, with an engine on this machine. Thirty times as fast as the
//! engine's stream.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use ncaas_core::failure::{IoContext, Result};

use super::entry::{LogEntry, LogTime, Stream};
use super::file_parser::{FileParser, MissingOutput};
use super::query::Query;

/// How much is read at once. The bytes are parsed while they are still in the processor's cache.
const CHUNK: usize = 256 << 10;

/// The longest line that can be an entry: a fragment with every byte escaped, and attributes. Longer lines are damaged.
const LONGEST: usize = 4 << 20;

/// How often opening is tried while the engine rotates its files, and the time between.
const MAX_TRIES: usize = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);

/// The longest time between two values of the clock of a file system, with 250 ticks a second.
const CLOCK_TICK: Duration = Duration::from_millis(4);

/// The line in a log in place of output that the engine has removed.
pub(crate) const GAP: &[u8] =
    b"ncaas-logs: output is missing here: the engine removed it before it was read (`--log-size`)\n";

/// A part of a log.
enum Part {
    File(Box<dyn Read>),
    /// Files that were removed before they were opened.
    Gap,
}

/// The files of one container's log, oldest first, as they were when opened.
pub(super) struct LogFiles {
    path: PathBuf,
    parts: VecDeque<Part>,
    entries: Entries,
    /// Whether the last file is kept open at its end and read again.
    grows: bool,
    /// Whether the engine begins new files.
    rotates: bool,
    /// The newest open file.
    newest: Arc<File>,
    gaps: u64,
}

impl LogFiles {
    /// Opens the log file and the files that it was rotated into. Returns none if this process may not read them.
    pub(super) fn open(path: &Path, query: &Query) -> Option<Self> {
        for attempt in 0..MAX_TRIES {
            if attempt > 0 {
                std::thread::sleep(BETWEEN_ATTEMPTS);
            }
            let newest = Arc::new(File::open(path).ok()?);
            let opened = newest.metadata().ok()?.ino();
            let mut parts = VecDeque::from([Part::File(Box::new(Arc::clone(&newest)))]);
            let is_complete = open_rotated_files(path, |file| parts.push_front(Part::File(file)))?;
            // Nothing was rotated meanwhile.
            if is_complete && std::fs::metadata(path).is_ok_and(|now| now.ino() == opened) {
                let (path, entries) = (path.to_owned(), Entries::new(query));
                return Some(LogFiles { path, parts, entries, grows: false, rotates: false, newest, gaps: 0 });
            }
        }
        None
    }

    /// The same files, of which the last may grow, and be rotated.
    pub(super) fn growing(self, rotates: bool) -> Self {
        LogFiles { grows: true, rotates, ..self }
    }

    /// Reads a chunk and gives its entries. Returns false at the end.
    pub(super) fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        if self.rotates {
            // Before a chunk is read: the engine may remove files faster than they are read.
            self.open_new_files();
        }
        let is_last = self.parts.len() == 1;
        let file = match self.parts.front_mut() {
            Some(Part::File(file)) => file,
            Some(Part::Gap) => {
                self.parts.pop_front();
                self.gaps += 1;
                let (stamp, stream) = (self.entries.last, Stream::Stderr);
                give(&LogEntry { stamp, stream, bytes: GAP, details: b"" });
                return Ok(true);
            }
            None => return Ok(false),
        };
        let read = file.read(self.entries.space()).doing("read", &self.path)?;
        if read == 0 && is_last && self.grows {
            return Ok(false);
        }
        if read == 0 {
            self.parts.pop_front();
            self.entries.next_file(&mut give);
        } else {
            self.entries.filled(read, give);
        }
        Ok(!self.parts.is_empty())
    }

    /// Opens the files that the engine has begun since the newest open one.
    fn open_new_files(&mut self) {
        let inode_of_path = || std::fs::metadata(&self.path).map(|now| now.ino()).ok();
        let Ok(newest_inode) = self.newest.metadata().map(|metadata| metadata.ino()) else { return };
        for attempt in 1..=MAX_TRIES {
            if inode_of_path().is_none_or(|inode| inode == newest_inode) {
                // The engine is about to create it, nothing was rotated, or the container was removed.
                return;
            }
            let Ok(newest) = File::open(&self.path) else { return };
            let Ok(opened) = newest.metadata().map(|metadata| metadata.ino()) else { return };
            let mut newer = vec![Arc::new(newest)];
            let mut is_known = false;
            for number in 1.. {
                let Ok(file) = File::open(with_suffix(&self.path, &format!(".{number}"))) else { break };
                is_known = file.metadata().is_ok_and(|metadata| metadata.ino() == newest_inode);
                if is_known {
                    break;
                }
                newer.push(Arc::new(file));
            }
            let is_next = is_known || newer.last().is_some_and(|oldest| has_replaced(oldest, &self.newest));
            // While the engine renames files, some are not found.
            if inode_of_path() == Some(opened) && (is_next || attempt == MAX_TRIES) {
                self.parts.extend((!is_next).then_some(Part::Gap));
                self.newest = Arc::clone(&newer[0]);
                self.parts.extend(newer.into_iter().rev().map(|file| Part::File(Box::new(file))));
                return;
            }
            std::thread::sleep(BETWEEN_ATTEMPTS);
        }
    }

    /// Gives the rest of a file that does not grow any more.
    pub(super) fn finish(&mut self, give: impl FnMut(&LogEntry<'_>)) {
        self.entries.next_file(give);
    }

    pub(super) fn missing(&self) -> MissingOutput {
        MissingOutput { gaps: self.gaps, ..self.entries.missing() }
    }
}

/// Whether a log file took the name of another one, which was removed for that: then its output follows the other's.
/// The engine removes one and renames the other in one step, which sets the change time of both.
fn has_replaced(file: &File, removed: &File) -> bool {
    let (Ok(file), Ok(removed)) = (file.metadata(), removed.metadata()) else { return false };
    let change_time = |file: &Metadata| i128::from(file.ctime()) * 1_000_000_000 + i128::from(file.ctime_nsec());
    removed.nlink() == 0 && change_time(&file).abs_diff(change_time(&removed)) <= CLOCK_TICK.as_nanos()
}

/// The time of the first entry that the engine still has of a log.
pub(super) fn first_stamp(path: &Path) -> Option<LogTime> {
    let mut oldest: Box<dyn Read> = Box::new(File::open(path).ok()?);
    open_rotated_files(path, |file| oldest = file)?;
    let mut entries = Entries::new(&Query::default());
    let mut first = None;
    while first.is_none() {
        let read = oldest.read(entries.space()).ok().filter(|read| *read > 0)?;
        entries.filled(read, |entry| first = first.or(Some(entry.stamp)));
    }
    first
}

/// Opens the files that the log was rotated into, the newest first. Returns none if that is not allowed, and false if
/// the engine is renaming them, the oldest first. The engine removes a file after compressing it: while both exist, the
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
#[derive(Debug)]
pub(super) struct Entries {
    buffer: Vec<u8>,
    filled: usize,
    parser: FileParser,
    query: Query,
    /// The time of the last entry.
    last: LogTime,
}

impl Entries {
    pub(super) fn new(query: &Query) -> Self {
        let parser = FileParser::new(query.details);
        Entries { buffer: Vec::new(), filled: 0, parser, query: query.clone(), last: LogTime::MIN }
    }

    pub(super) fn missing(&self) -> MissingOutput {
        self.parser.missing
    }

    /// The space for the next bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.filled > LONGEST {
            self.filled = 0;
            self.parser.missing.damaged += 1;
        }
        if self.buffer.len() < self.filled + CHUNK / 2 {
            self.buffer.resize((self.filled + CHUNK / 2).max(CHUNK), 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// Parses the bytes that were put there.
    pub(super) fn filled(&mut self, read: usize, mut give: impl FnMut(&LogEntry<'_>)) {
        self.filled += read;
        let Entries { buffer, parser, query, last, .. } = self;
        let used = parser.parse(&buffer[..self.filled], |entry| {
            *last = entry.stamp;
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
        let mut files = LogFiles::open(path, &Query::default()).unwrap();
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
        assert!(LogFiles::open(&path, &Query::default()).is_none(), "there are older lines which cannot be read now");
    }

    #[test]
    fn files_that_are_rotated_while_they_are_read_are_read_too_and_removed_ones_leave_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        let rotate = |keep: u32, text: &str| {
            std::fs::remove_file(with_suffix(&path, &format!(".{keep}"))).unwrap_or(());
            for number in (1..keep).rev() {
                let (from, to) =
                    (with_suffix(&path, &format!(".{number}")), with_suffix(&path, &format!(".{}", number + 1)));
                std::fs::rename(from, to).unwrap_or(());
            }
            std::fs::rename(&path, with_suffix(&path, ".1")).unwrap();
            std::fs::write(&path, entry(text)).unwrap();
            // An engine's rotations have different times.
            std::thread::sleep(3 * CLOCK_TICK);
        };
        std::fs::write(&path, entry("1")).unwrap();
        let mut files = LogFiles::open(&path, &Query::default()).unwrap().growing(true);
        let mut texts = Vec::new();
        let mut read = |files: &mut LogFiles| {
            texts.clear();
            while files.read(|entry| texts.push(String::from_utf8_lossy(entry.bytes).trim().to_owned())).unwrap() {}
            texts.clone()
        };
        assert_eq!(read(&mut files), ["1"]);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(entry("2").as_bytes()).unwrap();
        ["3", "4"].iter().for_each(|text| rotate(2, text));
        assert_eq!(read(&mut files), ["2", "3", "4"]);
        // The engine has removed the file that was read last, and none between it and the others.
        ["a", "b", "c"].iter().for_each(|text| rotate(2, text));
        assert_eq!(read(&mut files), ["a", "b", "c"]);
        ["5", "6", "7", "8"].iter().for_each(|text| rotate(2, text));
        let read = read(&mut files);
        assert!(
            read.len() == 4 && read[0].contains("output is missing here") && read[1..] == ["6", "7", "8"],
            "{read:?}"
        );
        assert_eq!(files.missing().gaps, 1);
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
