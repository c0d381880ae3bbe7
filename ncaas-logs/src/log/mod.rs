//! A container's log, from its first entry to its last, by the quickest way that is open.
//!
//! Three ways lead to it: its files read directly ([`files`]), its files through the engine's archive requests
//! ([`archive`]), and the engine's stream ([`stream`]). Only the stream goes on as the container writes; whoever
//! follows reads the files first, and goes over to the stream without a gap or a repeat ([`resume`]).
//! Podman's file itself is followed, where it can be read ([`podman`]).

mod answer;
mod archive;
mod details;
mod entry;
mod files;
pub(crate) mod helper;
mod json_file;
mod k8s_file;
mod lines;
mod podman;
mod query;
mod resume;
mod saved;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;
use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::time::{Instant, sleep};

pub(crate) use details::Translated;
pub(crate) use entry::{Entry, Stamp, Stream};
pub(crate) use lines::{Line, Rejoin};
pub(crate) use query::Query;
pub(crate) use saved::SavedLog;

use archive::Archive;
use files::Files;
use json_file::JsonFile;
use podman::{PAUSES, is_podmans};
use resume::Recent;
use stream::{Ask, EngineStream};

/// How long an engine may be away before a follower gives up.
const OUTAGE_LIMIT: Duration = Duration::from_secs(60);

/// Between looks at a container that does not run, or an engine that does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// After so many entries of the engine's stream it is worth a helper container to read the rest as files: 0.2 s.
const MANY: u64 = 20_000;

/// How many entries from the end are asked for where a log is taken up again: an engine that is asked for what came
/// since a time reads the whole log to find it.
const END: u64 = 8192;

/// What the log's driver has not kept, as far as can be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Lost {
    /// Bytes that were no UTF-8, and that stand in the log as U+FFFD.
    pub(crate) replaced: u64,
    /// Lines of its files that cannot be read.
    pub(crate) damaged: u64,
}

impl Lost {
    /// And what was seen to be lost in a file that has been read to its end.
    fn add(&mut self, file: &JsonFile) {
        self.replaced += file.replaced;
        self.damaged += file.damaged;
    }
}

/// A log that is being read.
pub(crate) struct Log {
    engine: Engine,
    id: String,
    terminal: bool,
    is_podman: bool,
    query: Query,
    source: Source,
    recent: Recent,
    /// The quicker way, if there is one and while it has not been tried.
    archive: Option<Box<Archive>>,
    /// How many of the wanted entries have been given.
    given: u64,
    lost: Lost,
    /// Where Podman's file lies, if it can be read.
    growing: Option<PathBuf>,
    /// How many of the wanted entries are still to be passed over in it, and how many it has had.
    skip: u64,
    passed: u64,
    /// Since when the engine has not answered.
    away: Option<Instant>,
    /// Only its end was asked for, and whether that reaches back to what was seen is not known yet.
    may_leave_a_gap: bool,
}

enum Source {
    Files(Files),
    /// A file that is followed, and how often it has had nothing new; none when the container has ended, and what is there
    /// is the last.
    Growing(Files, Option<u32>),
    /// The same files through the engine, of which so many entries have come by the stream already; it waits until
    /// the way has proved open.
    Archive(Box<Archive>, u64, Option<EngineStream>),
    Stream(EngineStream),
    /// Nothing at the moment: a stream has ended, or the files have.
    Between,
    /// A last look at what came while the stream ended.
    Last(EngineStream),
    Ended,
}

impl Log {
    /// Opens the log of a container.
    ///
    /// # Errors
    /// [`Kind::EngineError`] where the container's log driver cannot be read.
    pub(crate) fn open(engine: &Engine, inspected: &ContainerInspectResponse, query: Query) -> Result<Self> {
        let driver = driver(inspected);
        if driver == "none" {
            let name = inspected.name.as_deref().unwrap_or_default().trim_start_matches('/');
            return Err(Failure::new(
                Kind::EngineError,
                format!("cannot read the log of `{name}`: its log driver is `none`, which keeps nothing"),
            )
            .hint("start it with `--log-driver json-file`"));
        }
        let id = inspected.id.clone().unwrap_or_default();
        let terminal = inspected.config.as_ref().and_then(|config| config.tty).unwrap_or_default();
        let mut log = Log {
            engine: engine.clone(),
            id,
            terminal,
            is_podman: is_podmans(inspected),
            query,
            source: Source::Between,
            // Their times are to the nanosecond, each line's own; journald's are not, nor are Podman's.
            recent: Recent::new(matches!(driver, "json-file" | "local") && !is_podmans(inspected)),
            archive: None,
            given: 0,
            lost: Lost::default(),
            growing: None,
            skip: 0,
            passed: 0,
            away: None,
            may_leave_a_gap: false,
        };
        let as_files = matches!(driver, "json-file" | "k8s-file") && (log.query.tail.is_none() || log.is_podman);
        let path = inspected.log_path.as_deref().filter(|path| as_files && !engine.is_remote() && !path.is_empty());
        log.source = match path.and_then(|path| Files::open(Path::new(path), log.query.details)) {
            Some(files) if log.is_podman => log.open_growing(files, path.map(PathBuf::from))?,
            Some(files) => Source::Files(files),
            None => log.open_stream(),
        };
        // Files that the engine may rotate meanwhile cannot be had one after the other without a gap.
        let is_still = container_from_inspect(inspected).has_ended() || !rotates(inspected);
        let mixes = log.is_podman && (log.query.follow || log.query.tail.is_some());
        log.archive = if as_files && is_still && !mixes {
            Archive::of(engine, inspected, log.query.details).map(Box::new)
        } else {
            None
        };
        Ok(log)
    }

    fn ask(&self) -> Ask {
        let Query { follow, since, until, only, tail, details } = self.query;
        let (stdout, stderr) = (only != Some(Stream::Stderr), only != Some(Stream::Stdout));
        Ask { follow, stdout, stderr, since, until, tail, details }
    }

    fn open_stream(&self) -> Source {
        Source::Stream(EngineStream::open(&self.engine, &self.id, self.terminal, self.is_podman, &self.ask()))
    }

    /// The stream of what has not been seen, as far as it is among so many entries at the log's end.
    fn resumed(&mut self, follow: bool, end: Option<u64>) -> EngineStream {
        let mut ask = self.ask();
        ask.follow = follow;
        let now = if self.engine.is_remote() { None } else { Some(Stamp::at(Timestamp::now())) };
        if let Some(since) = self.recent.resume(now) {
            ask.since = Some(since.max(self.query.since.unwrap_or(Stamp::MIN)));
            // Podman leaves lines out where a number of them is asked for.
            ask.tail = end.filter(|_| !self.is_podman);
            self.may_leave_a_gap = ask.tail.is_some();
        }
        EngineStream::open(&self.engine, &self.id, self.terminal, self.is_podman, &ask)
    }

    /// Reads what is there, waiting for it if need be, and gives its entries. False when there is and will be no more.
    ///
    /// May be dropped at any time and called again; nothing is lost.
    ///
    /// # Errors
    /// Where the container was not there to begin with, or the engine stays away.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
        let Log { query, source, recent, archive, given, lost, growing, skip, passed, may_leave_a_gap, .. } = self;
        let follow = query.follow;
        // Whoever reads from the end may want to follow on.
        let remember = growing.is_none() && (follow || query.tail.is_some());
        let mut has_gap = false;
        let mut give_new = |entry: &Entry<'_>| {
            // What reaches back begins with what was seen.
            has_gap |= std::mem::take(may_leave_a_gap) && !recent.knows(entry);
            if has_gap {
                return;
            }
            *given += 1;
            if !remember || recent.is_new(entry) {
                give(entry);
            }
        };
        let mut give_from_file = |entry: &Entry<'_>| {
            if query.wants(entry) {
                *passed += 1;
                if *passed > *skip {
                    give_new(entry);
                }
            }
        };
        match source {
            Source::Files(files) => {
                let more = files.read(give_from_file)?;
                if !more {
                    lost.add(files.parser());
                    self.source = if follow { Source::Between } else { Source::Ended };
                }
                // A long file is no reason to keep others waiting.
                tokio::task::yield_now().await;
            }
            Source::Growing(files, idle) => {
                let more = files.read(&mut give_from_file)?;
                if !more && idle.is_none() {
                    files.finish(give_from_file);
                }
                match idle {
                    Some(pauses) if more => *pauses = 0,
                    None if more => {}
                    Some(pauses) if *pauses < PAUSES => {
                        *pauses += 1;
                        sleep(PAUSE).await;
                    }
                    Some(_) => self.look_on().await?,
                    None => {
                        lost.add(files.parser());
                        self.source = Source::Ended;
                    }
                }
                tokio::task::yield_now().await;
            }
            Source::Archive(archive, seen, instead) => {
                let read = archive.read(|entry| match *seen {
                    _ if !query.wants(entry) => {}
                    0 => give_new(entry),
                    _ => *seen -= 1,
                });
                match read.await {
                    Ok(true) if archive.has_begun() => *instead = None,
                    Ok(true) => {}
                    Ok(false) => {
                        lost.add(archive.parser());
                        self.source = if follow { Source::Between } else { Source::Ended };
                    }
                    Err(failure) => match instead.take() {
                        // The way is closed.
                        Some(stream) => self.source = Source::Stream(stream),
                        None if follow => self.source = Source::Between,
                        None => return Err(failure),
                    },
                }
            }
            Source::Stream(stream) => match stream.read(&mut give_new).await {
                _ if has_gap => self.source = Source::Stream(self.resumed(follow, None)),
                Ok(true) if self.given >= MANY && archive.is_some() => {
                    let stream = std::mem::replace(&mut self.source, Source::Between);
                    self.source = match (self.archive.take(), stream) {
                        (Some(archive), Source::Stream(stream)) => Source::Archive(archive, self.given, Some(stream)),
                        (_, stream) => stream,
                    };
                }
                Ok(true) => {}
                Ok(false) if follow => self.source = Source::Between,
                Ok(false) => self.source = Source::Ended,
                // It has been removed, and what there was has been seen.
                Err(failure) if follow && failure.kind == Kind::ContainerNotFound => self.source = Source::Ended,
                Err(failure) if follow => {
                    self.wait(failure)?;
                    self.source = Source::Between;
                }
                Err(failure) => return Err(failure),
            },
            Source::Between => self.look().await?,
            Source::Last(stream) => match stream.read(&mut give_new).await {
                _ if has_gap => self.source = Source::Last(self.resumed(false, None)),
                Ok(true) => {}
                Ok(false) => self.source = Source::Ended,
                Err(failure) if failure.kind == Kind::ContainerNotFound => self.source = Source::Ended,
                Err(failure) => {
                    self.wait(failure)?;
                    self.source = Source::Between;
                }
            },
            Source::Ended => {}
        }
        Ok(!matches!(self.source, Source::Ended))
    }

    /// Looks how the container fares, and goes on accordingly.
    async fn look(&mut self) -> Result<()> {
        match self.engine.inspect(&self.id).await {
            Ok(inspected) => {
                self.away = None;
                let container = container_from_inspect(&inspected);
                let restarts = inspected.state.as_ref().and_then(|state| state.restarting).unwrap_or_default();
                if container.has_ended() && !restarts {
                    self.source = Source::Last(self.resumed(false, Some(END)));
                } else {
                    self.source = Source::Stream(self.resumed(true, Some(END)));
                    if container.state != "running" {
                        sleep(PAUSE).await;
                    }
                }
            }
            Err(failure) if failure.kind == Kind::ContainerNotFound => self.source = Source::Ended,
            Err(failure) => {
                self.wait(failure)?;
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Puts up with an engine that does not answer, for a while.
    fn wait(&mut self, failure: Failure) -> Result<()> {
        let away = *self.away.get_or_insert_with(Instant::now);
        if away.elapsed() < OUTAGE_LIMIT { Ok(()) } else { Err(failure) }
    }

    /// Goes on from where this log has ended, which was asked for from its end backwards.
    pub(crate) fn follow_on(mut self, query: Query) -> Self {
        self.query = query;
        self.recent.begins_in_the_middle();
        self.skip = self.passed;
        self.passed = 0;
        self.source = match self.growing.as_deref().and_then(|path| Files::open(path, self.query.details)) {
            Some(files) => Source::Growing(files.growing(), Some(0)),
            None => Source::Between,
        };
        self
    }

    /// The container has ended, and the stream that follows it does not.
    pub(crate) fn stop_following(&mut self) {
        match &mut self.source {
            Source::Stream(_) => self.source = Source::Between,
            Source::Growing(_, idle) => *idle = None,
            _ => {}
        }
    }

    /// What is known to be lost of what has been read.
    pub(crate) fn lost(&self) -> Lost {
        self.lost
    }
}

/// Whether the engine begins a new file when the log has become long.
fn rotates(inspected: &ContainerInspectResponse) -> bool {
    let config = inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    config.and_then(|config| config.config.as_ref()).is_some_and(|options| options.contains_key("max-size"))
}

/// The container's log driver.
pub(crate) fn driver(inspected: &ContainerInspectResponse) -> &str {
    let config = inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    config.and_then(|config| config.typ.as_deref()).unwrap_or_default()
}
