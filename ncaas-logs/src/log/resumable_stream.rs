//! The engine's log stream, requested again after each interruption, until the container has ended.

use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::engine::Backoff;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Kind, Result};
use tokio::time::sleep;

use super::entry::{LogEntry, LogTime};
use super::query::Query;
use super::recent::RecentLines;
use super::stream::{EngineStream, LoggedContainer};

/// Time between two inspections of a container that does not run.
const PAUSE: Duration = Duration::from_millis(200);

/// How many of the last entries are requested when a log is resumed: an engine that is asked for entries since a time
/// reads the whole log to find them.
const LAST_ENTRIES: u64 = 8192;

/// The stream of one container's log.
pub(super) struct ResumableStream {
    container: LoggedContainer,
    query: Query,
    /// None between two requests.
    request: Option<EngineStream>,
    /// The container has ended: the current request returns all there is.
    is_last: bool,
    backoff: Backoff,
    given: u64,
}

impl ResumableStream {
    /// The whole log.
    pub(super) fn from_start(container: &LoggedContainer, query: &Query) -> Self {
        let request = Some(EngineStream::open(container, query));
        ResumableStream { request, ..Self::resumed(container, query) }
    }

    /// The log from the last entry on that was seen.
    pub(super) fn resumed(container: &LoggedContainer, query: &Query) -> Self {
        let (container, query) = (container.clone(), query.clone());
        ResumableStream { container, query, request: None, is_last: false, backoff: Backoff::default(), given: 0 }
    }

    /// How many entries it has given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Requests the stream again: the engine does not end it.
    pub(super) fn reopen(&mut self) {
        self.request = None;
    }

    /// Waits for entries and gives the new ones. Returns false at the end. It may be dropped at any time and called
    /// again.
    pub(super) async fn read(&mut self, recent: &mut RecentLines, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        let ResumableStream { request, given, .. } = self;
        let Some(request) = request else { return self.resume(recent).await };
        let count_and_give = |entry: &LogEntry<'_>| {
            *given += 1;
            give(entry);
        };
        let read = request.read(recent.filter(count_and_give)).await;
        if recent.take_gap() {
            self.request = Some(self.request_since_last(recent, None));
            return Ok(true);
        }
        match read {
            Ok(false) if self.query.follow && !self.is_last => self.request = None,
            Err(failure) if !self.query.follow => return Err(failure),
            // It has been removed. All that could be read has been.
            Err(failure) if failure.kind == Kind::ContainerNotFound => return Ok(false),
            Err(failure) => {
                self.request = None;
                self.backoff.wait(failure).await?;
            }
            Ok(more) => return Ok(more),
        }
        Ok(true)
    }

    /// Inspects the container and requests the entries that are missing. Returns false if the container was removed.
    async fn resume(&mut self, recent: &mut RecentLines) -> Result<bool> {
        let inspected = match self.container.engine.inspect(&self.container.id).await {
            Ok(inspected) => inspected,
            Err(failure) if failure.kind == Kind::ContainerNotFound => return Ok(false),
            Err(failure) => {
                self.backoff.wait(failure).await?;
                return Ok(true);
            }
        };
        self.backoff = Backoff::default();
        let container = container_from_inspect(&inspected);
        let restarts = inspected.state.as_ref().and_then(|state| state.restarting).unwrap_or_default();
        self.is_last = container.has_ended() && !restarts;
        self.request = Some(self.request_since_last(recent, Some(LAST_ENTRIES)));
        if !self.is_last && container.state != "running" {
            sleep(PAUSE).await;
        }
        Ok(true)
    }

    /// Requests the entries that were not seen yet, out of the last `tail` ones.
    fn request_since_last(&self, recent: &mut RecentLines, tail: Option<u64>) -> EngineStream {
        let mut query = Query { follow: !self.is_last, ..self.query.clone() };
        let now = if self.container.engine.is_remote() { None } else { Some(LogTime::at(Timestamp::now())) };
        if let Some(since) = recent.resume(now) {
            query.since = Some(since.max(self.query.since.unwrap_or(LogTime::MIN)));
            // Podman leaves out lines when it is asked for a number of them.
            query.tail = tail.filter(|_| !self.container.is_podman);
            if query.tail.is_some() {
                recent.expect_overlap();
            }
        }
        EngineStream::open(&self.container, &query)
    }
}
