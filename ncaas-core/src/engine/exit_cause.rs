//! The cause of a container's exit, beyond its exit code: whether it was killed for memory, and who stopped it.
//!
//! An exit code of 137 stands for the signal KILL and does not show who sent it. Other sources show more: the engine's flag
//! `OOMKilled`, its events (it keeps the last 256, until it is restarted), and on this machine the kernel's log and its count
//! of processes killed for memory. The evidence is collected first; [`Evidence::verdict`] then judges it. Where the evidence
//! does not decide, the cause is reported as unknown.

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
use crate::engine::container::{container_from_inspect, time};
use crate::engine::daemon_start::daemon_started_between;
use crate::engine::kernel_oom::{OomKillCount, log_shows_oom_kill};
use crate::record::fields::{Container, Oom, Status, StoppedBy};

/// The signal KILL: the kernel sends it for memory, and the engine when a container does not stop.
const KILL: i64 = 9;
/// Signals that people and programs send to end a process.
const DEADLY: [&str; 6] = ["1", "2", "3", "6", "9", "15"];
/// The exit code that an engine gives a container whose process it does not find when it starts.
const LOST: i64 = 255;
/// How many events an engine keeps (moby, `daemon/events`, `eventsLimit`).
const EVENTS_LIMIT: usize = 256;
/// How long to read Podman's events at most: Podman sends past events during this time, and then stops.
const PODMAN_READ_TIME: Duration = Duration::from_secs(3);
/// How long to read on after the event `die`: the event of a `stop` that had to kill comes after it.
const PODMAN_READ_AFTER_DIE: Duration = Duration::from_millis(150);
/// An attribute that only Podman gives its events.
const PODMAN_ATTRIBUTE: &str = "containerExitCode";

/// The evidence about a container's exit.
#[derive(Debug, Clone, Default)]
struct Evidence {
    /// The status by the inspection alone.
    status: Option<Status>,
    exit_code: Option<i64>,
    signal: Option<i64>,
    is_podman: bool,
    /// The engine's flag `OOMKilled`.
    oom_flag: bool,
    /// The engine's event `oom`.
    oom_event: bool,
    /// Somebody asked the engine to end the container.
    kill_event: bool,
    /// The engine's events go back to the container's start.
    start_event: bool,
    /// Whether the kernel's log shows that a process of the container was killed for memory. `None` if it is not known.
    kernel_log: Option<bool>,
    /// The kernel has killed no process of this machine for memory since before the exit.
    no_oom_kills: bool,
    /// The engine has reported the exit as an event.
    die_event: bool,
    /// The container was marked as ended when the engine started, with an exit code that nobody knows: an engine that was
    /// killed at the moment of the exit reports 0 for it.
    lost_exit: bool,
    /// The engine keeps fewer events than it can: it was restarted after the container's start.
    engine_restarted: bool,
}

/// The cause of an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    status: Option<Status>,
    oom: Oom,
    oom_evidence: Vec<String>,
    stopped_by: Option<StoppedBy>,
}

impl Evidence {
    /// Whether the kernel may know of a kill for memory that the engine does not report. An engine sets its flag only if it
    /// hears of the kill in time, and Podman hardly ever does.
    fn needs_kernel(&self) -> bool {
        !self.oom_flag && !self.oom_event && !self.kill_event && (self.is_podman || self.signal == Some(KILL))
    }

    /// Whether only a restart of the engine could explain the exit: its events do not go back to the container's start.
    fn needs_engine_history(&self) -> bool {
        let ended_by_itself = self.signal.is_none() && self.exit_code != Some(LOST);
        let is_explained = matches!(self.judged_status(), Some(Status::Timeout | Status::OutOfMemory));
        !is_explained && !self.start_event && (self.kill_event || !ended_by_itself)
    }

    /// Whether the engine may have invented the exit code 0 when it started.
    fn is_unproven_success(&self) -> bool {
        self.status == Some(Status::Success) && !self.is_podman && !self.start_event && !self.die_event
    }

    fn judged_status(&self) -> Option<Status> {
        if self.lost_exit {
            return Some(Status::Failed);
        }
        let is_oom = self.oom_event || self.kernel_log == Some(true);
        if is_oom && !self.kill_event && self.status == Some(Status::Killed) {
            return Some(Status::OutOfMemory);
        }
        self.status
    }

    fn verdict(&self) -> Verdict {
        let sources = [
            (self.oom_flag, "the engine's flag OOMKilled"),
            (self.oom_event, "the engine's event oom"),
            (self.kernel_log == Some(true), "the kernel's log"),
        ];
        let mut oom_evidence: Vec<String> =
            sources.iter().filter(|(shows, _)| *shows).map(|(_, source)| (*source).to_owned()).collect();
        let oom = if !oom_evidence.is_empty() {
            Oom::Known(true)
        } else if !self.needs_kernel() {
            Oom::Known(false)
        } else if self.no_oom_kills {
            oom_evidence.push("the kernel has killed no process of this machine for memory meanwhile".to_owned());
            Oom::Known(false)
        } else if self.kernel_log == Some(false) && self.signal != Some(KILL) {
            // If the kernel kills many processes at once it logs only some, so its log proves nothing about a KILL.
            Oom::Known(false)
        } else {
            Oom::Unknown
        };
        let status = self.judged_status();
        let stopped_by = match status {
            Some(Status::Timeout) => Some(StoppedBy::Timeout),
            Some(Status::OutOfMemory) => None,
            _ if self.lost_exit => Some(StoppedBy::Engine),
            _ if self.kill_event && self.start_event => Some(StoppedBy::User),
            // A restarted engine ends the containers that ran before.
            _ if self.needs_engine_history() && self.engine_restarted => Some(StoppedBy::Engine),
            _ if self.kill_event => Some(StoppedBy::User),
            _ => None,
        };
        Verdict { status, oom, oom_evidence, stopped_by }
    }
}

impl Engine {
    /// Adds the cause of its exit to an ended container. `killed_before` is the kernel's count from when the container still
    /// seemed to run.
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
            container.exit_code = Some(LOST);
        }
        let Verdict { status, oom, oom_evidence, stopped_by } = evidence.verdict();
        container.status = status;
        container.oom = Some(oom);
        container.oom_evidence = oom_evidence;
        container.stopped_by = stopped_by;
    }

    /// The exit of a container that was removed before it could be inspected, by the engine's events. `None` if they do not
    /// show it.
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
        // Podman sends past events only to a client that stays connected, or only the first of them. Any other engine that
        // sends none keeps none.
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
    ) -> impl Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send + use<> {
        let filters = id.map(|id| HashMap::from([("container".to_owned(), vec![id.to_owned()])]));
        // Without an end the engine would wait for more.
        let end = Timestamp::now() + self.clock_ahead().await + duration;
        let until = format!("{}.{:09}", end.as_second(), end.subsec_nanosecond());
        self.docker().events(Some(EventsOptions { since: Some("0".to_owned()), until: Some(until), filters }))
    }
}

/// Whether an engine of this machine was started between the container's start and its end.
fn has_daemon_started(container: &Container) -> bool {
    let times = time(container.started_at.as_deref()).zip(time(container.finished_at.as_deref()));
    times.is_some_and(|(started, finished)| daemon_started_between(started, finished))
}

/// The time since the container's start, at least.
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

/// Whether somebody asked the engine to end the container. Podman does not report the signal.
fn is_deadly_kill(event: &EventMessage) -> bool {
    match event.action.as_deref() {
        Some("kill") => attribute(event, "signal").is_none_or(|signal| DEADLY.contains(&signal)),
        Some("stop") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The evidence about a process that was ended by KILL while the engine's events go back to its start.
    fn killed() -> Evidence {
        let exit_code = Some(128 + KILL);
        Evidence {
            status: Some(Status::Killed),
            exit_code,
            signal: Some(KILL),
            start_event: true,
            ..Evidence::default()
        }
    }

    fn exited(exit_code: i64) -> Evidence {
        let status = if exit_code == 0 { Status::Success } else { Status::Failed };
        Evidence { status: Some(status), exit_code: Some(exit_code), start_event: true, ..Evidence::default() }
    }

    #[test]
    fn the_verdict_follows_from_the_evidence() {
        use Status::{Failed, Killed, OutOfMemory, Success, Timeout};
        let (yes, no) = (Oom::Known(true), Oom::Known(false));
        let table = [
            ("success", exited(0), Success, no, None),
            ("failure", exited(1), Failed, no, None),
            ("KILL from nowhere", killed(), Killed, Oom::Unknown, None),
            ("KILL, and the kernel killed none", Evidence { no_oom_kills: true, ..killed() }, Killed, no, None),
            (
                "KILL, and the kernel's log is silent",
                Evidence { kernel_log: Some(false), ..killed() },
                Killed,
                Oom::Unknown,
                None,
            ),
            (
                "KILL, and the kernel's log shows it",
                Evidence { kernel_log: Some(true), ..killed() },
                OutOfMemory,
                yes,
                None,
            ),
            ("KILL with the event oom", Evidence { oom_event: true, ..killed() }, OutOfMemory, yes, None),
            (
                "the engine's flag",
                Evidence { status: Some(OutOfMemory), oom_flag: true, ..killed() },
                OutOfMemory,
                yes,
                None,
            ),
            ("docker kill", Evidence { kill_event: true, ..killed() }, Killed, no, Some(StoppedBy::User)),
            (
                "docker kill after a child was killed for memory",
                Evidence { kill_event: true, oom_event: true, ..killed() },
                Killed,
                yes,
                Some(StoppedBy::User),
            ),
            (
                "stopped, and exits with 0",
                Evidence { kill_event: true, ..exited(0) },
                Success,
                no,
                Some(StoppedBy::User),
            ),
            (
                "time limit",
                Evidence { status: Some(Timeout), kill_event: true, ..killed() },
                Timeout,
                no,
                Some(StoppedBy::Timeout),
            ),
            (
                "KILL by an engine that was restarted",
                Evidence { start_event: false, engine_restarted: true, ..killed() },
                Killed,
                Oom::Unknown,
                Some(StoppedBy::Engine),
            ),
            (
                "a process that a restarted engine did not find",
                Evidence { start_event: false, engine_restarted: true, ..exited(LOST) },
                Failed,
                no,
                Some(StoppedBy::Engine),
            ),
            (
                "a failure before the engine was restarted",
                Evidence { start_event: false, engine_restarted: true, ..exited(1) },
                Failed,
                no,
                None,
            ),
            (
                "a success that a restarted engine has invented",
                Evidence { start_event: false, engine_restarted: true, lost_exit: true, ..exited(0) },
                Failed,
                no,
                Some(StoppedBy::Engine),
            ),
            (
                "a success before the engine was restarted",
                Evidence { start_event: false, engine_restarted: true, ..exited(0) },
                Success,
                no,
                None,
            ),
            (
                "docker kill after many other events",
                Evidence { start_event: false, kill_event: true, ..killed() },
                Killed,
                no,
                Some(StoppedBy::User),
            ),
            (
                "a child killed for memory under Podman",
                Evidence { is_podman: true, kernel_log: Some(true), ..exited(0) },
                Success,
                yes,
                None,
            ),
            (
                "a failure under Podman, and the kernel's log is silent",
                Evidence { is_podman: true, kernel_log: Some(false), ..exited(1) },
                Failed,
                no,
                None,
            ),
            (
                "a failure under Podman, and the kernel's log is not readable",
                Evidence { is_podman: true, ..exited(1) },
                Failed,
                Oom::Unknown,
                None,
            ),
        ];
        for (case, evidence, status, oom, stopped_by) in table {
            let verdict = evidence.verdict();
            assert_eq!((verdict.status, verdict.oom, verdict.stopped_by), (Some(status), oom, stopped_by), "{case}");
        }
    }

    #[test]
    fn the_verdict_names_its_evidence() {
        let all = Evidence { oom_flag: true, oom_event: true, ..killed() };
        assert_eq!(all.verdict().oom_evidence, ["the engine's flag OOMKilled", "the engine's event oom"]);
        let none = Evidence { no_oom_kills: true, ..killed() };
        assert_eq!(
            none.verdict().oom_evidence,
            ["the kernel has killed no process of this machine for memory meanwhile"]
        );
        assert!(killed().verdict().oom_evidence.is_empty());
    }
}
