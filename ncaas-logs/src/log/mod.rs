//! Reads a container's log from its first entry to its last, through the fastest source available.
//!
//! Each source reads itself: the log driver's files ([`files`]), the same files while they grow ([`growing_file`]) or
//! through the engine's archive endpoint ([`archive`]), the engine's log stream ([`resumable_stream`]), and a log that
//! `save` wrote ([`saved`]). [`Log`] moves from one source to the next; [`recent`] drops the entries that two of them,
//! or two requests to the engine, have in common.

mod archive;
mod details;
mod driver;
mod entry;
mod file_parser;
mod files;
mod growing_file;
pub(crate) mod helper_container;
mod http_response;
mod json_file;
mod k8s_file;
mod line;
mod query;
mod recent;
mod resumable_stream;
mod saved;
mod stream;

use std::path::Path;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::engine::{Engine, reference};
use ncaas_core::failure::{Failure, Kind, Result};

pub(crate) use details::Translated;
pub(crate) use entry::{LogEntry, LogTime, Stream};
pub(crate) use file_parser::MissingOutput;
pub(crate) use files::GAP;
pub(crate) use line::{EntrySource, Line, LineReader, last_state};
pub(crate) use query::Query;
pub(crate) use saved::SavedLog;

use archive::Archive;
use driver::{compresses, driver, rotates};
use files::LogFiles;
use growing_file::GrowingFile;
use recent::RecentLines;
use resumable_stream::ResumableStream;
use stream::LoggedContainer;

/// After this many entries of the engine's stream, a helper container that reads the rest as files is worth its 0.2 s.
const LONG: u64 = 20_000;

/// A log that is being read.
pub(crate) struct Log {
    container: LoggedContainer,
    query: Query,
    source: EntryOrigin,
    /// The source is exhausted, and no other follows it.
    has_ended: bool,
    recent: RecentLines,
    /// The faster way to a log that turns out to be long, until it has been tried.
    archive: Option<Box<Archive>>,
    missing: MissingOutput,
}

/// Where entries come from.
enum EntryOrigin {
    Files(LogFiles),
    Growing(GrowingFile),
    Stream(ResumableStream),
    /// The stream continues in its place if the engine does not hand out the archive.
    Archive(Box<Archive>, Option<ResumableStream>),
}

impl Log {
    pub(crate) fn open(engine: &Engine, inspected: &ContainerInspectResponse, query: Query) -> Result<Self> {
        let driver = driver(inspected);
        if driver == "none" {
            let name = reference::container_name(inspected);
            return Err(Failure::new(
                Kind::EngineError,
                format!("cannot read the log of `{name}`: its log driver is `none`, which keeps no output"),
            )
            .hint("start the container with `--log-driver json-file`"));
        }
        let container = LoggedContainer::new(engine, inspected);
        let is_podman = container.is_podman;
        let has_files = matches!(driver, "json-file" | "k8s-file") && (query.tail.is_none() || is_podman);
        let path = inspected.log_path.as_deref().filter(|path| has_files && !engine.is_remote() && !path.is_empty());
        let source = match path.map(Path::new) {
            // Files that the engine compresses are gone before they can be followed.
            Some(path) if is_podman || query.caller_reports_end && rotates(inspected) && !compresses(inspected) => {
                GrowingFile::open(&container, path, &query)?.map(EntryOrigin::Growing)
            }
            Some(path) => LogFiles::open(path, &query).map(EntryOrigin::Files),
            None => None,
        };
        // The engine may rotate the files of a running container while they are requested one after the other.
        let is_stable = container_from_inspect(inspected).has_ended() || !rotates(inspected);
        let mixes_formats = is_podman && (query.follow || query.tail.is_some());
        let uses_archive = source.is_none() && has_files && is_stable && !mixes_formats;
        // A reader of the log's end may follow it later. Podman's file is followed by its position.
        let remembers = !matches!(source, Some(EntryOrigin::Growing(_))) && (query.follow || query.tail.is_some());
        // The two drivers' times are exact to the nanosecond and unique to a line; those of others and of Podman are
        // not.
        let is_exact = matches!(driver, "json-file" | "local") && !is_podman;
        Ok(Log {
            archive: if uses_archive { Archive::new(engine, inspected, &query).map(Box::new) } else { None },
            source: source.unwrap_or_else(|| EntryOrigin::Stream(ResumableStream::from_start(&container, &query))),
            recent: if remembers { RecentLines::new(is_exact) } else { RecentLines::disabled() },
            container,
            query,
            has_ended: false,
            missing: MissingOutput::default(),
        })
    }

    /// Reads a long log from the archive from here on.
    fn use_archive_if_long(&mut self) {
        if let EntryOrigin::Stream(stream) = &mut self.source
            && stream.given() >= LONG
            && let Some(mut archive) = self.archive.take()
        {
            archive.skip(stream.given());
            let stream = std::mem::replace(stream, ResumableStream::resumed(&self.container, &self.query));
            self.source = EntryOrigin::Archive(archive, Some(stream));
        }
    }

    /// Moves on when the source is exhausted: a log that is followed continues with the engine's stream.
    fn end_source(&mut self) {
        let (missing, continues) = match &self.source {
            EntryOrigin::Files(files) => (files.missing(), self.query.follow),
            EntryOrigin::Archive(archive, _) => (archive.missing(), self.query.follow),
            EntryOrigin::Growing(file) => (file.missing(), false),
            EntryOrigin::Stream(_) => (MissingOutput::default(), false),
        };
        self.missing.add(missing);
        if continues {
            self.source = EntryOrigin::Stream(ResumableStream::resumed(&self.container, &self.query));
        } else {
            self.has_ended = true;
        }
    }

    /// Follows a log whose last entries have been read.
    pub(crate) fn follow_on(mut self, query: Query) -> Self {
        self.recent.begins_in_the_middle();
        let file = match &self.source {
            EntryOrigin::Growing(file) => file.follow_on(&query),
            _ => None,
        };
        self.source = match file {
            Some(file) => EntryOrigin::Growing(file),
            None => EntryOrigin::Stream(ResumableStream::resumed(&self.container, &query)),
        };
        Log { query, has_ended: false, ..self }
    }

    /// The container has ended, and the engine has written its whole log.
    pub(crate) fn note_end(&mut self) {
        if let EntryOrigin::Growing(file) = &mut self.source
            && !self.container.is_podman
        {
            file.stop_following();
        }
    }

    /// Ends a followed log of a container that has ended, when the engine's stream does not end by itself.
    pub(crate) fn stop_following(&mut self) {
        match &mut self.source {
            EntryOrigin::Stream(stream) => stream.reopen(),
            EntryOrigin::Growing(file) => file.stop_following(),
            EntryOrigin::Files(_) | EntryOrigin::Archive(..) => {}
        }
    }

    /// The time of the first entry that the engine still has, of a log whose files it removes when they become many.
    pub(crate) fn first_kept(engine: &Engine, inspected: &ContainerInspectResponse) -> Option<LogTime> {
        let path = inspected.log_path.as_deref().filter(|path| !path.is_empty() && !engine.is_remote())?;
        if driver(inspected) == "json-file" && rotates(inspected) { files::first_stamp(Path::new(path)) } else { None }
    }

    /// Output that the log driver has lost, as far as the entries show it.
    pub(crate) fn missing(&self) -> MissingOutput {
        self.missing
    }
}

impl EntrySource for Log {
    /// Fails if the container does not exist, or the engine stays unreachable.
    async fn read(&mut self, give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        let Log { source, recent, .. } = self;
        let more = match source {
            EntryOrigin::Files(files) => {
                // A long file must not keep others waiting.
                tokio::task::yield_now().await;
                files.read(recent.filter(give))?
            }
            EntryOrigin::Growing(file) => file.read(give).await?,
            EntryOrigin::Stream(stream) => stream.read(recent, give).await?,
            EntryOrigin::Archive(archive, stream) => match archive.read(recent.filter(give)).await {
                Ok(more) => {
                    if archive.has_begun() {
                        *stream = None;
                    }
                    more
                }
                Err(failure) => match stream.take() {
                    Some(stream) => {
                        self.source = EntryOrigin::Stream(stream);
                        return Ok(true);
                    }
                    None if self.query.follow => false,
                    None => return Err(failure),
                },
            },
        };
        if more {
            self.use_archive_if_long()
        } else {
            self.end_source()
        }
        Ok(!self.has_ended)
    }
}
