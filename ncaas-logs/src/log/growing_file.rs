//! A log file that is read and followed as it grows.
//!
//! Podman's stream has times in whole seconds, leaves out lines when it is asked for a number of them, and may end
//! before the last line. Docker's stream silently leaves out what was rotated away while the reader was behind. The
//! file has none of these faults: an open file keeps its content when the engine removes it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ncaas_core::engine::Backoff;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Kind, Result};
use tokio::time::sleep;

use super::entry::LogEntry;
use super::file_parser::MissingOutput;
use super::files::LogFiles;
use super::query::Query;
use super::stream::LoggedContainer;

/// Time between two reads of a file that has nothing new: at first, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// After this many reads without anything new, about 1.3 s, the container is inspected.
const IDLE_READS: u32 = 10;

/// A log file, and the files that it is rotated into.
pub(super) struct GrowingFile {
    container: LoggedContainer,
    path: PathBuf,
    query: Query,
    files: LogFiles,
    /// How many entries have been read.
    position: u64,
    /// How many entries at the beginning are left out.
    start: u64,
    /// How often in a row there was nothing new; none once the file does not grow any more.
    idle_reads: Option<u32>,
    backoff: Backoff,
}

impl GrowingFile {
    /// Opens the file. Returns none if this process may not read it.
    pub(super) fn open(container: &LoggedContainer, path: &Path, query: &Query) -> Result<Option<Self>> {
        let Some(mut file) = Self::open_from(container, path, query, 0) else { return Ok(None) };
        if let Some(tail) = query.tail {
            let mut last = VecDeque::new();
            while file.read_entries(|position, _| {
                last.push_back(position);
                if last.len() as u64 > tail {
                    last.pop_front();
                }
            })? {}
            let start = last.front().map_or(file.position, |first| first - 1);
            return Ok(Self::open_from(container, path, query, start));
        }
        Ok(Some(file))
    }

    fn open_from(container: &LoggedContainer, path: &Path, query: &Query, start: u64) -> Option<Self> {
        let everything = Query { details: query.details, ..Query::default() };
        Some(GrowingFile {
            container: container.clone(),
            path: path.to_owned(),
            query: query.clone(),
            files: LogFiles::open(path, &everything)?.growing(!container.is_podman),
            position: 0,
            start,
            idle_reads: query.follow.then_some(0),
            backoff: Backoff::default(),
        })
    }

    /// Waits for entries and gives them. Returns false at the end. It may be dropped at any time and called again.
    pub(super) async fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        // A long file must not keep others waiting.
        tokio::task::yield_now().await;
        let more = self.read_entries(|_, entry| give(entry))?;
        match self.idle_reads {
            None if !more => {
                self.finish(give);
                return Ok(false);
            }
            Some(_) if more => self.idle_reads = Some(0),
            Some(reads) if reads < IDLE_READS || self.query.caller_reports_end && !self.container.is_podman => {
                self.idle_reads = Some(reads.saturating_add(1));
                sleep((SHORTEST_PAUSE * (1 << reads.min(5))).min(LONGEST_PAUSE)).await;
            }
            Some(_) => self.idle_reads = if self.has_container_ended().await? { None } else { Some(0) },
            None => {}
        }
        Ok(true)
    }

    /// Gives each wanted entry with its number in the file, from 1. Returns false if there is nothing new.
    fn read_entries(&mut self, mut give: impl FnMut(u64, &LogEntry<'_>)) -> Result<bool> {
        let GrowingFile { files, query, position, start, .. } = self;
        files.read(|entry| {
            *position += 1;
            if *position > *start && query.wants(entry) {
                give(*position, entry);
            }
        })
    }

    /// Gives a last line without a line break.
    fn finish(&mut self, mut give: impl FnMut(&LogEntry<'_>)) {
        let GrowingFile { files, query, position, start, .. } = self;
        files.finish(|entry| {
            *position += 1;
            if *position > *start && query.wants(entry) {
                give(entry);
            }
        });
    }

    async fn has_container_ended(&mut self) -> Result<bool> {
        match self.container.engine.inspect(&self.container.id).await {
            Ok(inspected) => {
                self.backoff = Backoff::default();
                let restarts = inspected.state.as_ref().and_then(|state| state.restarting).unwrap_or_default();
                Ok(container_from_inspect(&inspected).has_ended() && !restarts)
            }
            Err(failure) if failure.kind == Kind::ContainerNotFound => Ok(true),
            Err(failure) => self.backoff.wait(failure).await.map(|()| false),
        }
    }

    /// The same file from the entry on that comes next. Returns none if it cannot be opened again.
    pub(super) fn follow_on(&self, query: &Query) -> Option<Self> {
        Self::open_from(&self.container, &self.path, query, self.position)
    }

    /// The container has ended: nothing is added to the file any more.
    pub(super) fn stop_following(&mut self) {
        self.idle_reads = None;
    }

    pub(super) fn missing(&self) -> MissingOutput {
        self.files.missing()
    }
}
