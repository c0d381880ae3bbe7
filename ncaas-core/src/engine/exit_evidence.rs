//! The evidence for the cause of a container's exit: whether it was killed for memory, and who stopped it.
//!
//! An exit code of 137 stands for the signal KILL and does not show who sent it. Other sources show more: the engine's
//! flag `OOMKilled`, its events (it keeps the last 256, until it is restarted), and on this machine the kernel's log
//! and its count of processes killed for memory. [`super::exit_cause`] judges the evidence.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, EventMessage,
};
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::engine::connection::Engine;
use crate::engine::container::{container_from_inspect, time};
use crate::engine::daemon_start::daemon_started_between;
use crate::engine::exit_cause::{Evidence, KILL, UNKNOWN_EXIT, Verdict};
use crate::engine::kernel_oom::{OomKillCount, log_shows_oom_kill};
use crate::record::fields::Container;

/// Signals that people and programs send to end a process.
const ENDING_SIGNALS: [&str; 6] = ["1", "2", "3", "6", "9", "15"];
/// How many events an engine keeps (moby, `daemon/events`, `eventsLimit`).
const EVENTS_LIMIT: usize = 256;
/// How long to read Podman's events at most: Podman sends past events during this time, and then stops.
const PODMAN_READ_TIME: Duration = Duration::from_secs(3);
/// How long to read on after the event `die`: the event of a `stop` that had to kill comes after it.
const PODMAN_READ_AFTER_DIE: Duration = Duration::from_millis(150);
/// An attribute that only Podman gives its events.
const PODMAN_ATTRIBUTE: &str = "containerExitCode";

impl Engine {
    /// Adds the cause of its exit to an ended container. `killed_before` is the kernel's count of OOM kills, read while
    /// the container was running.
    #[boxed]
    pub(super) async fn add_exit_cause(&self, container: &mut Container, killed_before: Option<OomKillCount>) {
        if !container.has_ended() || container.started_at.is_none() {
            return;
        }
        let Some((events, is_podman)) = self.container_events(container).await else { return };
        let since_start = || events.iter().filter(|event| is_since_start(event, container.started_at.as_deref()));
        let mut evidence = Evidence {
            status: container.status,
            exit_code: container.exit_code,
            signal: container.signal,
            is_podman,
            oom_flag: container.oom_killed,
            oom_event: since_start().any(|event| event.action.as_deref() == Some("oom")),
            kill_event: since_start().any(is_deadly_kill),
            die_event: since_start().any(|event| event.action.as_deref() == Some("die")),
            start_event: events.iter().any(|event| event.action.as_deref() == Some("start")),
            ..Evidence::default()
        };
        if evidence.needs_kernel() && !self.is_remote() {
            evidence.kernel_log = log_shows_oom_kill(&container.id, time_since_start(container));
            // A child may have been killed before the count was taken.
            let count = killed_before.filter(|_| evidence.signal == Some(KILL));
            let finished = time(container.finished_at.as_deref());
            evidence.no_oom_kills = count.zip(finished).is_some_and(|(count, end)| count.is_unchanged_since(end));
        }
        let is_unproven = evidence.is_unproven_success() && !self.is_remote() && has_daemon_started(container);
        if evidence.needs_engine_history() || is_unproven {
            evidence.engine_restarted = self.past_events(None).await.is_some_and(|all| all.len() < EVENTS_LIMIT);
        }
        evidence.lost_exit = is_unproven && evidence.engine_restarted;
        if evidence.lost_exit {
            container.exit_code = Some(UNKNOWN_EXIT);
        }
        let Verdict { status, oom, oom_evidence, stopped_by } = evidence.verdict();
        container.status = status;
        container.oom = Some(oom);
        container.oom_evidence = oom_evidence;
        container.stopped_by = stopped_by;
    }

    /// The exit of a container that was removed before it could be inspected, by the engine's events. `None` if they do
    /// not show it.
    #[boxed]
    pub async fn exit_of_removed(&self, container: &Container) -> Option<Container> {
        let (events, _) = self.container_events(container).await?;
        let last = |action: &str| {
            let since_start = events.iter().filter(|event| is_since_start(event, container.started_at.as_deref()));
            since_start.rev().find(|event| event.action.as_deref() == Some(action))
        };
        let died = last("die")?;
        // The container's labels are among them.
        let attributes = died.actor.as_ref()?.attributes.as_ref()?;
        let state = ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(attributes.get("exitCode")?.parse().ok()?),
            oom_killed: Some(last("oom").is_some()),
            started_at: container.started_at.clone(),
            finished_at: Some(Timestamp::from_nanosecond(died.time_nano?.into()).ok()?.to_string()),
            ..ContainerState::default()
        };
        let mut ended = container_from_inspect(&ContainerInspectResponse {
            id: Some(container.id.clone()),
            name: Some(container.name.clone()),
            state: Some(state),
            config: Some(ContainerConfig { labels: Some(attributes.clone()), ..ContainerConfig::default() }),
            ..ContainerInspectResponse::default()
        });
        self.add_exit_cause(&mut ended, None).await;
        Some(ended)
    }

    /// The events of a container that the engine keeps, and whether the engine is Podman.
    async fn container_events(&self, container: &Container) -> Option<(Vec<EventMessage>, bool)> {
        let events = self.past_events(Some(&container.id)).await?;
        // Podman sends past events only to a client that stays connected, or only the first of them. Any other engine
        // that sends none keeps none.
        let is_podman = if events.is_empty() {
            self.is_podman().await
        } else {
            events.iter().any(|event| attribute(event, PODMAN_ATTRIBUTE).is_some())
        };
        if !is_podman {
            return Some((events, false));
        }
        Some((self.read_podman_events(container).await?, true))
    }

    /// The events that the engine keeps, of one container or of all.
    async fn past_events(&self, id: Option<&str>) -> Option<Vec<EventMessage>> {
        let events: Vec<_> = self.events(id, Duration::ZERO).await.collect().await;
        events.into_iter().collect::<Result<_, _>>().ok()
    }

    /// Podman's events of a container that has ended.
    async fn read_podman_events(&self, container: &Container) -> Option<Vec<EventMessage>> {
        let mut events = Box::pin(self.events(Some(&container.id), PODMAN_READ_TIME).await);
        let mut all = Vec::new();
        let mut wait = PODMAN_READ_TIME;
        while let Ok(Some(event)) = timeout(wait, events.next()).await {
            let event = event.ok()?;
            if event.action.as_deref() == Some("die") && is_since_start(&event, container.started_at.as_deref()) {
                wait = PODMAN_READ_AFTER_DIE;
            }
            all.push(event);
        }
        Some(all)
    }

    /// All events until now, and those of the next `duration`.
    async fn events(
        &self,
        id: Option<&str>,
        duration: Duration,
    ) -> BoxStream<'_, Result<EventMessage, bollard::errors::Error>> {
        let filters = id.map(|id| HashMap::from([("container".to_owned(), vec![id.to_owned()])]));
        // Without an end the engine would wait for more.
        let end = Timestamp::now() + self.clock_ahead().await + duration;
        let until = format!("{}.{:09}", end.as_second(), end.subsec_nanosecond());
        self.docker().events(Some(EventsOptions { since: Some("0".to_owned()), until: Some(until), filters })).boxed()
    }
}

/// Whether an engine of this machine was started between the container's start and its end.
fn has_daemon_started(container: &Container) -> bool {
    let times = time(container.started_at.as_deref()).zip(time(container.finished_at.as_deref()));
    times.is_some_and(|(started, finished)| daemon_started_between(started, finished))
}

/// The time since the container's start; the maximum if unknown.
fn time_since_start(container: &Container) -> Duration {
    let started = time(container.started_at.as_deref());
    let ago = started.and_then(|started| Timestamp::now().duration_since(started).try_into().ok());
    ago.unwrap_or(Duration::MAX)
}

fn is_since_start(event: &EventMessage, started: Option<&str>) -> bool {
    match (event.time_nano, time(started)) {
        // The engine records the start after the process has begun.
        (Some(at), Some(started)) => i128::from(at) >= started.as_nanosecond() - 1_000_000_000,
        _ => true,
    }
}

fn attribute<'e>(event: &'e EventMessage, name: &str) -> Option<&'e str> {
    event.actor.as_ref()?.attributes.as_ref()?.get(name).map(String::as_str)
}

/// Whether a client asked the engine to end the container. Podman does not report the signal.
fn is_deadly_kill(event: &EventMessage) -> bool {
    match event.action.as_deref() {
        Some("kill") => attribute(event, "signal").is_none_or(|signal| ENDING_SIGNALS.contains(&signal)),
        Some("stop") => true,
        _ => false,
    }
}
