//! How a container fares, in a record's words.
//!
//! What is told here follows from one answer of the engine alone, its labels included, so that whoever asks, and
//! however late, hears the same.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as State};
use jiff::Timestamp;

use crate::engine::errors::{EngineContext, Subject};
use crate::engine::{Engine, labels, reference};
use crate::failure::Result;
use crate::record::fields::{Container, Oom, Status};

/// An exit code above this one is how shells and the engine report a signal: 128 and its number.
const SIGNALLED: i64 = 128;
/// The highest number of a signal that ends programs; above are the real-time signals, which nobody sends.
const LAST_SIGNAL: i64 = 31;

/// Between looks at a container that is [between two states](is_between_states), and how often to look.
pub(super) const BETWEEN_STATES: Duration = Duration::from_millis(50);
pub(super) const BETWEEN_STATES_LOOKS: u32 = 100;

impl Engine {
    /// All that the engine knows about a container.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`](crate::failure::Kind::ContainerNotFound), or the engine does not answer.
    pub async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        let id = reference::container(id)?;
        let mut inspected = self.docker().inspect_container(id, None).await;
        for _ in 0..BETWEEN_STATES_LOOKS {
            if !is_between_states(&inspected) {
                break;
            }
            tokio::time::sleep(BETWEEN_STATES).await;
            inspected = self.docker().inspect_container(id, None).await;
        }
        inspected.engine_context("inspect", Subject::Container(id))
    }

    /// How a container fares.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn container(&self, id: &str) -> Result<Container> {
        let mut container = container_from_inspect(&self.inspect(id).await?);
        self.add_exit_cause(&mut container, None).await;
        Ok(container)
    }
}

/// Whether Podman finds the process ended, and what it came to not written down yet. It says `stopped` then, a state that
/// the Docker Engine does not know and the client cannot read; or that it cannot read the process's `/proc/N/cgroup`.
pub(super) fn is_between_states<T>(answer: &Result<T, Error>) -> bool {
    match answer {
        Err(Error::JsonDataError { message, .. }) => message.contains("`stopped`"),
        Err(Error::DockerResponseServerError { status_code: 500, message }) => {
            message.contains("/cgroup: no such process") || message.contains("/cgroup: no such file")
        }
        _ => false,
    }
}

/// How a container fares, by the engine's answer.
pub fn container_from_inspect(inspected: &ContainerInspectResponse) -> Container {
    let none = ContainerState::default();
    let state = inspected.state.as_ref().unwrap_or(&none);
    let started = time(state.started_at.as_deref());
    let ended = has_ended(state);
    let finished = if ended { time(state.finished_at.as_deref()) } else { None };
    // The engine notes the start when it learns of it: a process that has ended by then ends before its start.
    let duration = started.zip(finished).map(|(from, to)| to.duration_since(from).as_secs_f64().max(0.0));
    let exit_code = if ended { state.exit_code } else { None };
    let oom_killed = state.oom_killed.unwrap_or_default();
    let overran = duration.zip(time_limit(inspected)).is_some_and(|(ran, limit)| ran >= limit as f64);
    Container {
        id: inspected.id.clone().unwrap_or_default(),
        name: inspected.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        state: state.status.map(|word| word.to_string()).unwrap_or_default(),
        status: exit_code.map(|code| status(code, oom_killed, overran)),
        exit_code,
        oom_killed,
        started_at: started.map(|at| at.to_string()),
        finished_at: finished.map(|at| at.to_string()),
        duration_s: duration.map(|seconds| (seconds * 1e3).round() / 1e3),
        signal: exit_code.and_then(signal),
        oom: exit_code.and_then(|_| oom_killed.then_some(Oom::Known(true))),
        ..Container::default()
    }
}

/// What the engine says of a container that it could not start, or could not run properly.
pub fn engine_error(inspected: &ContainerInspectResponse) -> Option<&str> {
    inspected.state.as_ref()?.error.as_deref().filter(|words| !words.is_empty())
}

/// How long the container may run, in seconds from its start, where its label says so.
pub fn time_limit(inspected: &ContainerInspectResponse) -> Option<u64> {
    inspected.config.as_ref()?.labels.as_ref()?.get(labels::TIMEOUT)?.trim().parse().ok()
}

/// How a job ended.
///
/// A job that ran as long as its limit was stopped, whatever it made of the signal: one that traps it and exits with 0
/// has not done its work. An exit code of 0 is a success even where a child of the job was killed for memory: the job
/// went on without it, and `oom_killed` still tells.
fn status(exit_code: i64, oom_killed: bool, overran: bool) -> Status {
    match exit_code {
        _ if overran => Status::Timeout,
        0 => Status::Success,
        _ if oom_killed => Status::OutOfMemory,
        code if signal(code).is_some() => Status::Killed,
        _ => Status::Failed,
    }
}

/// The signal that an exit code tells of.
fn signal(exit_code: i64) -> Option<i64> {
    (SIGNALLED + 1..=SIGNALLED + LAST_SIGNAL).contains(&exit_code).then_some(exit_code - SIGNALLED)
}

/// Whether its process has ended, or never will start: the engine leaves a container whose start failed `created`,
/// with its reason in `Error`.
fn has_ended(state: &ContainerState) -> bool {
    match state.status {
        Some(State::EXITED | State::DEAD) => true,
        Some(State::CREATED) => state.error.as_deref().is_some_and(|error| !error.is_empty()),
        _ => false,
    }
}

/// A time of the engine, in UTC to the nanosecond. The engine writes the year 1 for what has not happened.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::ContainerConfig;

    use super::*;

    fn inspected(state: ContainerState) -> ContainerInspectResponse {
        ContainerInspectResponse { name: Some("/pca".to_owned()), state: Some(state), ..Default::default() }
    }

    fn exited(exit_code: i64) -> ContainerState {
        ContainerState {
            status: Some(State::EXITED),
            exit_code: Some(exit_code),
            started_at: Some("2026-11-22T10:24:55.51660844Z".to_owned()),
            finished_at: Some("2026-11-22T10:24:56.122608441Z".to_owned()),
            ..Default::default()
        }
    }

    fn with_limit(state: ContainerState, seconds: &str) -> ContainerInspectResponse {
        let labels = HashMap::from([(labels::TIMEOUT.to_owned(), seconds.to_owned())]);
        let config = ContainerConfig { labels: Some(labels), ..Default::default() };
        ContainerInspectResponse { config: Some(config), ..inspected(state) }
    }

    #[test]
    fn times_keep_the_engines_nanoseconds() {
        let container = container_from_inspect(&inspected(exited(0)));
        assert_eq!(container.name, "pca");
        assert_eq!(container.started_at.as_deref(), Some("2026-11-22T10:24:55.51660844Z"));
        assert_eq!(container.finished_at.as_deref(), Some("2026-11-22T10:24:56.122608441Z"));
        assert_eq!(container.duration_s, Some(0.606));
        assert_eq!(container.status, Some(Status::Success));
    }

    #[test]
    fn a_time_with_an_offset_is_told_in_utc() {
        let time = time(Some("2026-11-22T11:24:55.5+01:00")).map(|at| at.to_string());
        assert_eq!(time.as_deref(), Some("2026-11-22T10:24:55.5Z"));
    }

    #[test]
    fn a_process_that_ended_before_the_engine_noted_its_start_took_no_time() {
        let brief = ContainerState { started_at: Some("2026-11-22T10:24:56.2Z".to_owned()), ..exited(0) };
        assert_eq!(container_from_inspect(&inspected(brief)).duration_s, Some(0.0));
    }

    #[test]
    fn what_has_not_happened_is_null() {
        let running = ContainerState {
            status: Some(State::RUNNING),
            exit_code: Some(0),
            started_at: Some("2026-11-22T10:24:55.5Z".to_owned()),
            finished_at: Some("0001-01-01T00:00:00Z".to_owned()),
            ..Default::default()
        };
        let container = container_from_inspect(&inspected(running));
        assert_eq!((container.status, container.exit_code, container.finished_at), (None, None, None));
        assert!(container.started_at.is_some());
    }

    #[test]
    fn a_second_start_does_not_show_the_end_of_the_first() {
        let again = ContainerState { status: Some(State::RUNNING), ..exited(1) };
        let container = container_from_inspect(&inspected(again));
        assert_eq!((container.finished_at, container.duration_s), (None, None));
    }

    #[test]
    fn a_container_that_could_not_start_has_ended() {
        let failed = ContainerState {
            status: Some(State::CREATED),
            exit_code: Some(127),
            error: Some("exec: not found".to_owned()),
            started_at: Some("0001-01-01T00:00:00Z".to_owned()),
            ..Default::default()
        };
        let container = container_from_inspect(&inspected(failed));
        assert!(container.has_ended());
        assert_eq!((container.status, container.started_at), (Some(Status::Failed), None));
        let fresh = ContainerState { status: Some(State::CREATED), exit_code: Some(0), ..Default::default() };
        assert!(!container_from_inspect(&inspected(fresh)).has_ended());
    }

    #[test]
    fn a_kill_is_out_of_memory_only_where_the_engine_says_so() {
        assert_eq!(container_from_inspect(&inspected(exited(137))).status, Some(Status::Killed));
        assert_eq!(container_from_inspect(&inspected(exited(143))).status, Some(Status::Killed));
        assert_eq!(container_from_inspect(&inspected(exited(255))).status, Some(Status::Failed));
        let oom = ContainerState { oom_killed: Some(true), ..exited(137) };
        assert_eq!(container_from_inspect(&inspected(oom)).status, Some(Status::OutOfMemory));
        let child = ContainerState { oom_killed: Some(true), ..exited(0) };
        let child = container_from_inspect(&inspected(child));
        assert_eq!((child.status, child.oom_killed), (Some(Status::Success), true));
    }

    #[test]
    fn a_job_that_ran_as_long_as_it_may_is_a_timeout_whatever_its_exit_code() {
        let long = |code| ContainerState { finished_at: Some("2026-11-22T10:24:58Z".to_owned()), ..exited(code) };
        assert_eq!(container_from_inspect(&with_limit(long(143), "2")).status, Some(Status::Timeout));
        assert_eq!(container_from_inspect(&with_limit(long(0), "2")).status, Some(Status::Timeout));
        assert_eq!(container_from_inspect(&with_limit(long(143), "3")).status, Some(Status::Killed));
        assert_eq!(container_from_inspect(&with_limit(long(1), "nonsense")).status, Some(Status::Failed));
    }
}
