//! The state of a container, as a record has it.
//!
//! It follows from one inspection alone, labels included: every process that inspects the container gets the same
//! state, however late.

use async_recursion::async_recursion as boxed;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as State, ContainerStatsResponse,
    FilesystemChange,
};
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::engine::connection::Engine;
use crate::engine::errors::{EngineContext, Subject};
use crate::engine::exit_cause::signal;
pub use crate::engine::exit_cause::status_of_exit;
use crate::engine::state_change::request_settled;
use crate::engine::{labels, reference};
use crate::failure::Result;
use crate::record::fields::{Container, Oom};

impl Engine {
    /// The engine's full description of a container.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`](crate::failure::Kind::ContainerNotFound), or the engine does not answer.
    #[boxed]
    pub async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        let id = reference::container(id)?;
        let inspected = request_settled(|| self.docker().inspect_container(id, None)).await;
        inspected.engine_context("inspect", Subject::Container(id))
    }

    /// The state of a container, with the cause of its exit.
    ///
    /// # Errors
    /// Same as [`Engine::inspect`].
    #[boxed]
    pub async fn container(&self, id: &str) -> Result<Container> {
        let mut container = container_from_inspect(&self.inspect(id).await?);
        self.add_exit_cause(&mut container, None).await;
        Ok(container)
    }

    /// The paths that differ between a container and its image, with mount points and the folders above each change.
    ///
    /// # Errors
    /// Same as [`Engine::inspect`].
    #[boxed]
    pub async fn changes(&self, id: &str) -> Result<Vec<FilesystemChange>> {
        let changes = self.docker().container_changes(id).await;
        Ok(changes.engine_context("list the changes of", Subject::Container(id))?.unwrap_or_default())
    }

    /// What a container uses, about once a second.
    pub fn stats(&self, id: &str) -> BoxStream<'static, Result<ContainerStatsResponse, Error>> {
        self.docker().stats(id, Some(StatsOptions { stream: true, one_shot: false })).boxed()
    }
}

/// The state of a container by its inspection.
pub fn container_from_inspect(inspected: &ContainerInspectResponse) -> Container {
    let none = ContainerState::default();
    let state = inspected.state.as_ref().unwrap_or(&none);
    let started = time(state.started_at.as_deref());
    let ended = has_ended(state);
    let finished = if ended { time(state.finished_at.as_deref()) } else { None };
    // The engine records the start when it learns of it, which may be after the end of a short process.
    let duration = started.zip(finished).map(|(from, to)| to.duration_since(from).as_secs_f64().max(0.0));
    let exit_code = if ended { state.exit_code } else { None };
    let oom_killed = state.oom_killed.unwrap_or_default();
    let overran = duration.zip(time_limit(inspected)).is_some_and(|(ran, limit)| ran >= limit as f64);
    Container {
        id: inspected.id.clone().unwrap_or_default(),
        name: reference::container_name(inspected).to_owned(),
        state: state.status.map(|word| word.to_string()).unwrap_or_default(),
        status: exit_code.map(|code| status_of_exit(code, oom_killed, overran)),
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

/// The engine's error about a container that it could not start or run.
pub fn engine_error(inspected: &ContainerInspectResponse) -> Option<&str> {
    inspected.state.as_ref()?.error.as_deref().filter(|words| !words.is_empty())
}

/// The container's time limit in seconds from its start, from its label.
pub fn time_limit(inspected: &ContainerInspectResponse) -> Option<u64> {
    inspected.config.as_ref()?.labels.as_ref()?.get(labels::TIMEOUT)?.trim().parse().ok()
}

/// Whether its process has ended or will never start. The engine leaves a container whose start failed `created`, with
/// the reason in `Error`.
fn has_ended(state: &ContainerState) -> bool {
    match state.status {
        Some(State::EXITED | State::DEAD) => true,
        Some(State::CREATED) => state.error.as_deref().is_some_and(|error| !error.is_empty()),
        _ => false,
    }
}

/// A time of the engine, in UTC to the nanosecond. The engine writes the year 1 for a time that has not come.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::ContainerConfig;

    use super::*;
    use crate::record::fields::Status;

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
    fn a_time_with_an_offset_is_converted_to_utc() {
        let time = time(Some("2026-11-22T11:24:55.5+01:00")).map(|at| at.to_string());
        assert_eq!(time.as_deref(), Some("2026-11-22T10:24:55.5Z"));
    }

    #[test]
    fn a_process_that_ended_before_the_engine_noted_its_start_took_no_time() {
        let brief = ContainerState { started_at: Some("2026-11-22T10:24:56.2Z".to_owned()), ..exited(0) };
        assert_eq!(container_from_inspect(&inspected(brief)).duration_s, Some(0.0));
    }

    #[test]
    fn a_running_container_has_no_end_although_the_engine_gives_one() {
        let finished_at = Some("0001-01-01T00:00:00Z".to_owned());
        for before in [ContainerState { finished_at, ..exited(0) }, exited(1)] {
            let running = ContainerState { status: Some(State::RUNNING), ..before };
            let container = container_from_inspect(&inspected(running));
            assert_eq!((container.status, container.exit_code, container.finished_at), (None, None, None));
            assert!(container.started_at.is_some() && container.duration_s.is_none());
        }
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
    fn a_status_follows_from_the_exit_code_the_memory_and_the_time_limit() {
        // The container ran for 0.6 s.
        for (exit_code, oom_killed, limit, status) in [
            (137, false, "9", Status::Killed),
            (143, false, "9", Status::Killed),
            (255, false, "9", Status::Failed),
            (137, true, "9", Status::OutOfMemory),
            (0, true, "9", Status::Success),
            (143, false, "0", Status::Timeout),
            (0, false, "0", Status::Success),
            (1, false, "nonsense", Status::Failed),
        ] {
            let state = ContainerState { oom_killed: Some(oom_killed), ..exited(exit_code) };
            let container = container_from_inspect(&with_limit(state, limit));
            let expected = (Some(status), oom_killed);
            assert_eq!((container.status, container.oom_killed), expected, "{exit_code} {oom_killed} {limit}");
        }
    }
}
