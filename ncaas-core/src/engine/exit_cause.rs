//! How a container came to its end, beyond its exit code: killed for memory or not, stopped by whom.
//!
//! An exit code of 137 says KILL and not who sent it. Three witnesses say more: the engine's flag `OOMKilled`, its events
//! (it keeps the last 256, until it is restarted), and on this machine the kernel's log, and its count of processes
//! killed for memory. What they leave open is told as open.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, EventMessage,
};
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::engine::container::container_from_inspect;
use crate::engine::kernel::{KilledForMemory, log_tells_of};
use crate::record::fields::{Container, Oom, Status, StoppedBy};

/// KILL: what the kernel sends for memory, and the engine after a while.
const KILL: i64 = 9;
/// Signals that people and programs send to end a process.
const DEADLY: [&str; 6] = ["1", "2", "3", "6", "9", "15"];
/// An engine that finds a container's process gone when it starts gives it this exit code.
const LOST: i64 = 255;
/// How many events an engine remembers (moby, `daemon/events`, `eventsLimit`).
const REMEMBERED: usize = 256;
/// How long Podman is listened to at most: it reads its events to us in this time, and stops then, wherever it is.
const LISTEN: Duration = Duration::from_secs(3);
/// How long it is listened to after it has told of the end: a `stop` that had to kill comes after it.
const AFTER_THE_END: Duration = Duration::from_millis(150);
/// An attribute that only Podman gives its events.
const PODMANS: &str = "containerExitCode";

impl Engine {
    /// Adds to what is known about an ended container who and what ended it, and `killed_before` where it was counted when
    /// the container seemed to run.
    pub(super) async fn add_exit_cause(&self, container: &mut Container, killed_before: Option<KilledForMemory>) {
        let ended_itself = container.signal.is_none() && container.exit_code != Some(LOST);
        if !container.has_ended() || container.started_at.is_none() {
            return;
        }
        let Some((events, is_podman)) = self.remembered_of(container).await else { return };
        let since = |event: &&EventMessage| is_since_start(event, container.started_at.as_deref());
        let oom_event = events.iter().filter(since).any(|event| event.action.as_deref() == Some("oom"));
        let killed = events.iter().filter(since).any(is_deadly_kill);
        let remembered = events.iter().any(|event| event.action.as_deref() == Some("start"));

        let mut evidence = Vec::new();
        if container.oom_killed {
            evidence.push("the engine's flag OOMKilled".to_owned());
        }
        if oom_event {
            evidence.push("the engine's event oom".to_owned());
        }
        // An engine sets its flag only when it hears of the kill in time, and Podman hardly ever.
        let is_open = evidence.is_empty() && !killed && (is_podman || container.signal == Some(KILL));
        let is_here = is_open && !self.is_remote();
        let by_kernel = if is_here { log_tells_of(&container.id, since_start(container)) } else { None };
        // Of a child that was killed while nobody counted the count says nothing.
        let counted = killed_before.filter(|_| is_here && container.signal == Some(KILL));
        let finished = container.finished_at.as_deref().and_then(|at| at.parse().ok());
        let is_none_killed = counted.zip(finished).is_some_and(|(counted, end)| counted.are_all_before(end));
        if by_kernel == Some(true) {
            evidence.push("the kernel's log".to_owned());
        }
        container.oom = Some(match () {
            () if !evidence.is_empty() => Oom::Known(true),
            () if !is_open => Oom::Known(false),
            () if is_none_killed => {
                evidence.push("the kernel has killed no process of this machine for memory meanwhile".to_owned());
                Oom::Known(false)
            }
            // Where it kills many at once the kernel leaves some out, and a KILL came from somewhere.
            () if by_kernel == Some(false) && container.signal != Some(KILL) => Oom::Known(false),
            () => Oom::Unknown,
        });
        if (oom_event || by_kernel == Some(true)) && container.status == Some(Status::Killed) && !killed {
            container.status = Some(Status::OutOfMemory);
        }
        container.oom_evidence = evidence;
        container.stopped_by = match container.status {
            Some(Status::Timeout) => Some(StoppedBy::Timeout),
            Some(Status::OutOfMemory) => None,
            _ if killed && remembered => Some(StoppedBy::User),
            _ if (ended_itself && !killed) || remembered => None,
            // The engine has forgotten its start: it was restarted since, and ends what ran before, or much has happened.
            _ => match self.history(None).await {
                Some(all) if all.len() < REMEMBERED => Some(StoppedBy::Engine),
                _ if killed => Some(StoppedBy::User),
                _ => None,
            },
        };
    }

    /// How a container ended that was removed before it could be asked, as the engine's events tell it. None where they
    /// tell nothing of it.
    pub async fn exit_of_removed(&self, container: &Container) -> Option<Container> {
        let (events, _) = self.remembered_of(container).await?;
        let of = |action: &str| {
            let since_start = events.iter().filter(|event| is_since_start(event, container.started_at.as_deref()));
            since_start.rev().find(|event| event.action.as_deref() == Some(action))
        };
        let died = of("die")?;
        // The container's labels are among them.
        let attributes = died.actor.as_ref()?.attributes.as_ref()?;
        let state = ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(attributes.get("exitCode")?.parse().ok()?),
            oom_killed: Some(of("oom").is_some()),
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

    /// The events of a container that the engine remembers, and whether it is Podman.
    async fn remembered_of(&self, container: &Container) -> Option<(Vec<EventMessage>, bool)> {
        let events = self.history(Some(&container.id)).await?;
        // Podman says nothing to one who does not stay, or the first of it. Any other engine has forgotten.
        let is_podman = match events.is_empty() {
            true => self.is_podman().await,
            false => events.iter().any(|event| attribute(event, PODMANS).is_some()),
        };
        if !is_podman {
            return Some((events, false));
        }
        Some((self.listen(container).await?, true))
    }

    /// The events that the engine remembers, of one container or of all that there is.
    async fn history(&self, id: Option<&str>) -> Option<Vec<EventMessage>> {
        let events: Vec<_> = self.events(id, Duration::ZERO).await.collect().await;
        events.into_iter().collect::<Result<_, _>>().ok()
    }

    /// Podman's events of a container that has ended.
    async fn listen(&self, container: &Container) -> Option<Vec<EventMessage>> {
        let mut events = Box::pin(self.events(Some(&container.id), LISTEN).await);
        let mut all = Vec::new();
        let mut patience = LISTEN;
        while let Ok(Some(event)) = timeout(patience, events.next()).await {
            let event = event.ok()?;
            if event.action.as_deref() == Some("die") && is_since_start(&event, container.started_at.as_deref()) {
                patience = AFTER_THE_END;
            }
            all.push(event);
        }
        Some(all)
    }

    /// All events until now, and those that come while the engine is listened to.
    async fn events(
        &self,
        id: Option<&str>,
        listen: Duration,
    ) -> impl Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send + use<> {
        let filters = id.map(|id| HashMap::from([("container".to_owned(), vec![id.to_owned()])]));
        // Without an end the engine would wait for more.
        let end = Timestamp::now() + self.clock_ahead().await + listen;
        let until = format!("{}.{:09}", end.as_second(), end.subsec_nanosecond());
        self.docker().events(Some(EventsOptions { since: Some("0".to_owned()), until: Some(until), filters }))
    }
}

/// How long ago it was started, at least.
fn since_start(container: &Container) -> Duration {
    let started: Option<Timestamp> = container.started_at.as_deref().and_then(|at| at.parse().ok());
    let ago = started.and_then(|started| Timestamp::now().duration_since(started).try_into().ok());
    ago.unwrap_or(Duration::MAX)
}

fn is_since_start(event: &EventMessage, started: Option<&str>) -> bool {
    let started: Option<Timestamp> = started.and_then(|at| at.parse().ok());
    match (event.time_nano, started) {
        // The engine notes the start after the process has begun.
        (Some(at), Some(started)) => i128::from(at) >= started.as_nanosecond() - 1_000_000_000,
        _ => true,
    }
}

fn attribute<'e>(event: &'e EventMessage, name: &str) -> Option<&'e str> {
    event.actor.as_ref()?.attributes.as_ref()?.get(name).map(String::as_str)
}

/// Whether somebody asked the engine to end the container. Podman does not say with which signal.
fn is_deadly_kill(event: &EventMessage) -> bool {
    match event.action.as_deref() {
        Some("kill") => attribute(event, "signal").is_none_or(|signal| DEADLY.contains(&signal)),
        Some("stop") => true,
        _ => false,
    }
}
