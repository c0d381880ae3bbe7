//! `<label>.log`: the whole output of a job, in lines of the form `TIME STREAM LINE`.
//!
//! `2026-11-22T10:24:55.517032643Z stdout fitting 15 components`: time and stream always take 38 characters, so that
//! `cut -c39-` extracts the output and `grep ' stderr '` one stream. The output's bytes are unchanged.
//!
//! The log is collected in an unnamed file, which the system removes if this process dies, and copied as a whole to its
//! path. Copying takes a bounded share of the time, however long the log becomes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ncaas_core::failure::{Failure, IoContext, Result};
use ncaas_core::folder::Folder;
use tokio::time::Instant;

use crate::log::{Line, Stream};

/// Copying takes at most 1/COPY_SHARE of the time.
const COPY_SHARE: u32 = 20;

/// The size of the buffer in memory.
const BUFFER: usize = 64 << 10;

/// A log file that is being written.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    collected: File,
    buffer: Vec<u8>,
    /// The stream whose line is incomplete.
    open: Option<Stream>,
    next_copy: Instant,
    /// Why the collected log is incomplete.
    failed: Option<Failure>,
}

impl LogFile {
    pub(crate) fn new(folder: &Folder, path: &Path) -> Result<Self> {
        let collected = folder.nameless_file(folder.relative(path).parent().unwrap_or(Path::new("")))?;
        Ok(LogFile {
            path: path.to_owned(),
            collected,
            buffer: Vec::new(),
            open: None,
            next_copy: Instant::now(),
            failed: None,
        })
    }

    pub(crate) fn push(&mut self, line: &Line<'_>) {
        let buffer = &mut self.buffer;
        // An incomplete line ends before a line of the other stream begins.
        if line.begins || self.open.is_some_and(|open| open != line.stream) {
            if self.open.is_some() {
                buffer.push(b'\n');
            }
            buffer.extend_from_slice(line.stamp.as_bytes());
            buffer.push(b' ');
            buffer.extend_from_slice(line.stream.name().as_bytes());
            buffer.push(b' ');
        }
        buffer.extend_from_slice(line.bytes);
        self.open = Some(line.stream);
        if line.ends && line.broken {
            buffer.push(b'\n');
            self.open = None;
        }
    }

    /// Writes the collected lines if they take much memory.
    pub(crate) fn flush_if_large(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let written = self.collected.write_all(&self.buffer).doing("write", &self.path);
        self.failed = written.clone().err();
        written?;
        // The memory of a long line is not kept.
        self.buffer = Vec::new();
        Ok(())
    }

    /// Whether the log may be copied again.
    pub(crate) fn may_publish(&self) -> bool {
        Instant::now() >= self.next_copy
    }

    /// Copies the log so far to its path in `folder`. The user may have removed the folder that was opened before.
    pub(crate) fn publish(&mut self, folder: &Folder) -> Result<()> {
        let begun = Instant::now();
        self.flush()?;
        let LogFile { path, collected, .. } = self;
        folder.write_with(folder.relative(path), |copy| {
            collected.seek(SeekFrom::Start(0))?;
            // The kernel copies it.
            std::io::copy(collected, copy).map(drop)
        })?;
        self.next_copy = Instant::now() + begun.elapsed().max(Duration::from_millis(1)) * COPY_SHARE;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogTime;

    fn line(stream: Stream, bytes: &[u8]) -> Line<'_> {
        Line::whole(LogTime::MIN, stream, bytes)
    }

    #[test]
    fn every_byte_is_written_after_its_time_and_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/x.log");
        let job_folder = Folder::open(folder.path()).unwrap();
        let mut log = LogFile::new(&job_folder, &path).unwrap();
        log.push(&line(Stream::Stdout, b"a\r\xff\0"));
        log.publish(&job_folder).unwrap();
        log.push(&Line { ends: false, broken: false, ..line(Stream::Stdout, b"long") });
        log.push(&Line { begins: false, ..line(Stream::Stdout, b" line") });
        log.push(&Line { broken: false, ..line(Stream::Stdout, b"no break") });
        log.push(&Line { broken: false, ..line(Stream::Stderr, b"the end") });
        log.publish(&job_folder).unwrap();
        let time = "0000-01-01T00:00:00.000000000Z";
        let mut expected = format!("{time} stdout a\r").into_bytes();
        expected.extend_from_slice(b"\xff\0\n");
        expected.extend_from_slice(
            format!("{time} stdout long line\n{time} stdout no break\n{time} stderr the end").as_bytes(),
        );
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
