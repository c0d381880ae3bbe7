//! The log's files, where this process may read them: root, beside an engine on this machine. Thirty times as fast as
//! the engine's stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use ncaas_core::failure::{IoContext, Result};

use super::entry::Entry;
use super::json_file::JsonFile;

/// How much is read at once. What is read is parsed while it is still in the processor's cache.
const CHUNK: usize = 256 << 10;

/// The longest line that can be an entry: a fragment, every byte of it escaped, and attributes. What is longer is
/// damage.
const LONGEST: usize = 4 << 20;

/// How often to look again where the engine rotates its files while they are being opened.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The files of one container's log, oldest first, as they were when they were opened.
pub(crate) struct Files {
    path: PathBuf,
    files: VecDeque<Box<dyn Read>>,
    entries: Entries,
    /// Whether the last file is kept at its end, for what comes.
    grows: bool,
}

impl Files {
    /// Opens the log's file and those that it was rotated into. None where that is not allowed.
    pub(crate) fn open(path: &Path, details: bool) -> Option<Self> {
        for look in 0..LOOKS {
            if look > 0 {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            let newest = File::open(path).ok()?;
            let opened = newest.metadata().ok()?.ino();
            let mut files: VecDeque<Box<dyn Read>> = VecDeque::from([Box::new(newest) as _]);
            let all = files_of_rotation(path, |file| files.push_front(file))?;
            // Nothing was rotated meanwhile.
            if all && std::fs::metadata(path).is_ok_and(|now| now.ino() == opened) {
                return Some(Files { path: path.to_owned(), files, entries: Entries::new(details), grows: false });
            }
        }
        None
    }

    /// The same, which after its end may go on.
    pub(crate) fn growing(self) -> Self {
        Files { grows: true, ..self }
    }

    /// Reads some, and gives the entries in it. False at the end.
    pub(crate) fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
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

    /// Gives what is left of a file that does not go on.
    pub(crate) fn finish(&mut self, give: impl FnMut(&Entry<'_>)) {
        self.entries.next_file(give);
    }

    pub(crate) fn parser(&self) -> &JsonFile {
        &self.entries.parser
    }
}

/// Opens the files that the log was rotated into, the newest first. None where that is not allowed; false where the engine
/// is renaming them, the oldest first. It removes a file when it has compressed it: as long as both are there, the
/// compressed one is not whole.
fn files_of_rotation(path: &Path, mut give: impl FnMut(Box<dyn Read>)) -> Option<bool> {
    let of = |number: u32| {
        let rotated = with_suffix(path, &format!(".{number}"));
        let compressed = with_suffix(&rotated, ".gz");
        (rotated, compressed)
    };
    for number in 1.. {
        let (rotated, compressed) = of(number);
        match (File::open(&rotated), File::open(&compressed)) {
            (Ok(file), _) => give(Box::new(file)),
            (Err(_), Ok(file)) => give(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
            (Err(_), Err(_)) if rotated.exists() || compressed.exists() => return None,
            (Err(_), Err(_)) => {
                let (rotated, compressed) = of(number + 1);
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

/// Entries out of a file's bytes that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    buffer: Vec<u8>,
    filled: usize,
    pub(crate) parser: JsonFile,
}

impl Entries {
    /// `details`: whether the lines' details are wanted.
    pub(crate) fn new(details: bool) -> Self {
        Entries { parser: JsonFile::new(details), ..Entries::default() }
    }

    /// Where the next bytes go.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.filled > LONGEST {
            self.filled = 0;
            self.parser.damaged += 1;
        }
        if self.buffer.len() < self.filled + CHUNK / 2 {
            self.buffer.resize((self.filled + CHUNK / 2).max(CHUNK), 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// So many bytes have gone there.
    pub(crate) fn filled(&mut self, read: usize, give: impl FnMut(&Entry<'_>)) {
        self.filled += read;
        let used = self.parser.read(&self.buffer[..self.filled], give);
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
    }

    /// A file has ended: the line that it ended in was still being written.
    pub(crate) fn next_file(&mut self, give: impl FnMut(&Entry<'_>)) {
        self.filled = 0;
        self.parser.finish(give);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]
mod tests {
    use std::io::Write;

    use super::*;

    fn entry(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}}\n")
    }

    fn read(path: &Path) -> Vec<String> {
        let mut files = Files::open(path, false).unwrap();
        let mut texts = Vec::new();
        while files.read(|entry| texts.push(String::from_utf8_lossy(entry.bytes).trim().to_owned())).unwrap() {}
        texts
    }

    #[test]
    fn rotated_files_come_first_and_a_line_being_written_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x-json.log");
        std::fs::write(with_suffix(&path, ".2"), entry("oldest")).unwrap();
        std::fs::write(with_suffix(&path, ".1"), entry("older")).unwrap();
        std::fs::write(&path, entry("new") + "{\"log\":\"half").unwrap();
        assert_eq!(read(&path), ["oldest", "older", "new"]);
        // As in the middle of a rotation.
        std::fs::remove_file(with_suffix(&path, ".1")).unwrap();
        assert!(Files::open(&path, false).is_none(), "there is more, and it cannot be had at this moment");
    }

    #[test]
    fn a_compressed_file_is_read_where_it_has_taken_the_place_of_the_other() {
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
    fn entries_across_chunks_and_damage_longer_than_any_entry_are_survived() {
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
