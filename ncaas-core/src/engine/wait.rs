//! Waiting for a container to end, also while the engine restarts or its connections break.
//!
//! The engine's `wait` request only triggers an inspection, and the inspection alone decides. So a broken stream, a
//! restarted engine or a dead connection costs only a moment, and there is one source of exit codes.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{sleep, timeout};

use crate::engine::backoff::Backoff;
use crate::engine::connection::{Engine, with_deadline};
use crate::engine::container::{container_from_inspect, time_limit};
use crate::engine::errors::{EngineContext, Subject};
use crate::engine::kernel_oom::OomKillCount;
use crate::engine::labels::TIMEOUT;
use crate::engine::reference;
use crate::engine::stop::STOP_GRACE_S;
use crate::failure::Result;
use crate::record::fields::Container;

/// How long one inspection may take.
const INSPECTION: Duration = Duration::from_secs(30);
/// How often to inspect without an answer to the `wait` request: its connection may be dead.
const INSPECT_INTERVAL: Duration = Duration::from_secs(30);
/// The same for a container that is not started yet: it may run and end between an inspection and the `wait` request.
const INSPECT_INTERVAL_UNSTARTED: Duration = Duration::from_secs(1);
/// Pause before the next inspection, if `wait` reports an exit that the inspection does not show yet.
const REINSPECT_PAUSE: Duration = Duration::from_millis(200);

impl Engine {
    /// Waits until a container has ended or its start has failed, and returns its state. It enforces the time limit in
    /// the container's label ([`TIMEOUT`]), unless its image has that label, by stopping the container.
    ///
    /// The future can be dropped at any time, and a later call starts again. To do other work meanwhile, pin it and
    /// `select!` it with a ticker.
    ///
    /// # Errors
    /// [`ContainerNotFound`](crate::failure::Kind::ContainerNotFound) if it has been removed;
    /// [`EngineUnreachable`](crate::failure::Kind::EngineUnreachable) if the engine is unreachable for longer than
    /// [`OUTAGE_LIMIT`](crate::engine::OUTAGE_LIMIT).
    #[boxed]
    pub async fn wait(&self, id: &str) -> Result<Container> {
        let id = reference::container(id)?;
        let mut backoff = Backoff::default();
        // The time limit, and how far the engine's clock is ahead.
        let mut limit_and_clock = None;
        let mut is_answered = false;
        // Its name may be given to another container: after the first inspection its id is used.
        let mut full_id = None;
        let mut killed_before = None;
        loop {
            let id = full_id.as_deref().unwrap_or(id);
            // Counted before the inspection, so that kills during the inspection are not included.
            let killed_by_now = killed_before.or_else(OomKillCount::read);
            let inspected = match with_deadline(INSPECTION, self.inspect(id)).await {
                Ok(inspected) => inspected,
                Err(failure) => {
                    backoff.wait(failure).await?;
                    continue;
                }
            };
            let mut container = container_from_inspect(&inspected);
            if container.has_ended() {
                self.add_exit_cause(&mut container, killed_before).await;
                return Ok(container);
            }
            killed_before = killed_by_now;
            if is_answered {
                sleep(REINSPECT_PAUSE).await;
            }
            if let (Some(seconds), None) = (time_limit(&inspected), limit_and_clock) {
                limit_and_clock = match self.has_own_label(&inspected, TIMEOUT).await {
                    Ok(true) => Some((Duration::from_secs(seconds), self.clock_ahead().await)),
                    Ok(false) => Some((Duration::MAX, SignedDuration::ZERO)),
                    Err(failure) => {
                        backoff.wait(failure).await?;
                        continue;
                    }
                };
            }
            let left = limit_and_clock.and_then(|(limit, clock)| time_left(&container, limit, clock));
            if left == Some(Duration::ZERO) {
                match self.stop(id, STOP_GRACE_S).await {
                    Ok(()) => backoff = Backoff::default(),
                    Err(failure) => backoff.wait(failure).await?,
                }
                is_answered = true;
            } else {
                backoff = Backoff::default();
                is_answered = self.wait_for_answer(id, &container.state, left).await;
            }
            full_id = Some(container.id);
        }
    }

    /// Waits until the engine answers the `wait` request, or the next inspection is due. Returns whether it has
    /// answered.
    #[boxed]
    async fn wait_for_answer(&self, id: &str, state: &str, left: Option<Duration>) -> bool {
        // For a container that is not started, `not-running` is true immediately.
        let (condition, interval) = match state {
            "created" => ("next-exit", INSPECT_INTERVAL_UNSTARTED),
            _ => ("not-running", INSPECT_INTERVAL),
        };
        let options = WaitContainerOptions { condition: condition.to_owned() };
        let mut answers = self.docker().wait_container(id, Some(options));
        timeout(left.map_or(interval, |left| left.min(interval)), answers.next()).await.is_ok()
    }

    /// How far the engine's clock is ahead of this machine's. A container's times are of the engine's clock.
    #[boxed]
    pub(super) async fn clock_ahead(&self) -> SignedDuration {
        if !self.is_remote() {
            return SignedDuration::ZERO;
        }
        let asked = Timestamp::now();
        let info =
            with_deadline(INSPECTION, async { self.docker().info().await.engine_context("ask", Subject::Engine) })
                .await;
        let engine = info.ok().and_then(|info| info.system_time?.parse::<Timestamp>().ok());
        engine.map_or(SignedDuration::ZERO, |engine| engine.duration_since(asked))
    }
}

/// The rest of a running container's time limit; `None` if it has not started.
fn time_left(container: &Container, limit: Duration, clock_ahead: SignedDuration) -> Option<Duration> {
    let started: Timestamp = container.started_at.as_deref()?.parse().ok()?;
    let ran = Timestamp::now().duration_since(started) + clock_ahead;
    Some(limit.saturating_sub(ran.try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(ago: SignedDuration) -> Container {
        Container { started_at: Some((Timestamp::now() - ago).to_string()), ..Container::default() }
    }

    #[test]
    fn the_limit_counts_from_the_start_by_the_engines_clock() {
        let limit = Duration::from_secs(60);
        let left = time_left(&started(SignedDuration::from_secs(20)), limit, SignedDuration::ZERO);
        assert!(left.is_some_and(|left| left.as_secs().abs_diff(40) <= 1), "{left:?}");
        // It started 70 s from now by our clock, 30 s ago by the engine's.
        let ahead = time_left(&started(SignedDuration::from_secs(-70)), limit, SignedDuration::from_secs(100));
        assert!(ahead.is_some_and(|left| left.as_secs().abs_diff(30) <= 1), "{ahead:?}");
        assert_eq!(
            time_left(&started(SignedDuration::from_secs(90)), limit, SignedDuration::ZERO),
            Some(Duration::ZERO)
        );
        assert_eq!(time_left(&Container::default(), limit, SignedDuration::ZERO), None);
    }
}
