//! Waiting for a container to end, through whatever happens to the engine meanwhile.
//!
//! The engine's own `wait` request only says when to look; what is true is what an inspection then says. So a broken
//! stream, a restarted engine or a connection that has silently died cost a moment and no more, and an exit code
//! cannot be had in two ways.

use std::time::Duration;

use bollard::query_parameters::{StopContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{sleep, timeout};

use crate::engine::backoff::Backoff;
use crate::engine::container::{container_from_inspect, time_limit};
use crate::engine::errors::{EngineContext, Subject};
use crate::engine::kernel::KilledForMemory;
use crate::engine::{Engine, reference, within};
use crate::failure::Result;
use crate::record::fields::Container;

/// Between the signal that asks a job to end (TERM, unless its image says otherwise) and KILL, in seconds.
pub const STOP_GRACE_S: i32 = 10;

/// How long one look at a container may take.
const LOOK: Duration = Duration::from_secs(30);
/// How often to look although the engine has said nothing: its connection may have died without a word.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The same for a container that is not started yet: its whole run may fit between a look and a request to wait.
const HEARTBEAT_UNSTARTED: Duration = Duration::from_secs(1);
/// Between looks where the engine says that it has ended, and it has not.
const DISAGREEMENT: Duration = Duration::from_millis(200);

impl Engine {
    /// Waits until a container has ended, or its start has failed, and says how. A time limit in its label
    /// ([`TIMEOUT`](crate::engine::labels::TIMEOUT)) is enforced: whoever waits stops it when it is over.
    ///
    /// Dropping the future does no harm, and a later call begins anew: to do something else meanwhile, pin it and
    /// `select!` it with a ticker.
    ///
    /// # Errors
    /// [`ContainerNotFound`](crate::failure::Kind::ContainerNotFound) where it has been removed;
    /// [`EngineUnreachable`](crate::failure::Kind::EngineUnreachable) where the engine stays away for longer than
    /// [`OUTAGE_LIMIT`](crate::engine::OUTAGE_LIMIT).
    pub async fn wait(&self, id: &str) -> Result<Container> {
        let id = reference::container(id)?;
        let mut patience = Backoff::default();
        let mut clock = None;
        let mut told = false;
        // Its name may come to mean another container: after the first look it is known by its id.
        let mut full_id = None;
        let mut killed_before = None;
        loop {
            let id = full_id.as_deref().unwrap_or(id);
            // Counted before the look: what is killed while the engine looks is not among them.
            let killed_by_now = killed_before.or_else(KilledForMemory::by_now);
            let inspected = match within(LOOK, self.inspect(id)).await {
                Ok(inspected) => inspected,
                Err(failure) => {
                    patience.wait(failure).await?;
                    continue;
                }
            };
            let mut container = container_from_inspect(&inspected);
            if container.has_ended() {
                self.add_exit_cause(&mut container, killed_before).await;
                return Ok(container);
            }
            killed_before = killed_by_now;
            if told {
                sleep(DISAGREEMENT).await;
            }
            let limit = time_limit(&inspected).map(Duration::from_secs);
            if limit.is_some() && clock.is_none() {
                clock = Some(self.clock_ahead().await);
            }
            let left = limit.and_then(|limit| time_left(&container, limit, clock.unwrap_or_default()));
            if left == Some(Duration::ZERO) {
                match self.stop(id, STOP_GRACE_S).await {
                    Ok(()) => patience = Backoff::default(),
                    Err(failure) => patience.wait(failure).await?,
                }
                told = true;
            } else {
                patience = Backoff::default();
                told = self.wait_for_word(id, &container.state, left).await;
            }
            full_id = Some(container.id);
        }
    }

    /// Asks a container to end, and after `grace` seconds makes it. One that has ended already is left as it is.
    ///
    /// # Errors
    /// [`ContainerNotFound`](crate::failure::Kind::ContainerNotFound), or the engine does not answer or cannot do it.
    pub async fn stop(&self, id: &str, grace: i32) -> Result<()> {
        if self.is_podman().await {
            return self.stop_by_signals(id, grace).await;
        }
        let id = reference::container(id)?;
        let options = StopContainerOptions { t: Some(grace), ..Default::default() };
        self.docker().stop_container(id, Some(options)).await.engine_context("stop", Subject::Container(id))
    }

    /// Waits until the engine says something about the container's end, or it is time to look anyway. True where the
    /// engine has spoken.
    async fn wait_for_word(&self, id: &str, state: &str, left: Option<Duration>) -> bool {
        // On a container that is not started, `not-running` is true at once.
        let (condition, heartbeat) = match state {
            "created" => ("next-exit", HEARTBEAT_UNSTARTED),
            _ => ("not-running", HEARTBEAT),
        };
        let options = WaitContainerOptions { condition: condition.to_owned() };
        let mut words = self.docker().wait_container(id, Some(options));
        timeout(left.map_or(heartbeat, |left| left.min(heartbeat)), words.next()).await.is_ok()
    }

    /// How far the engine's clock is ahead of ours. A container's times are of its clock.
    pub(super) async fn clock_ahead(&self) -> SignedDuration {
        if !self.is_remote() {
            return SignedDuration::ZERO;
        }
        let asked = Timestamp::now();
        let info = within(LOOK, async { self.docker().info().await.engine_context("ask", Subject::Engine) }).await;
        let engine = info.ok().and_then(|info| info.system_time?.parse::<Timestamp>().ok());
        engine.map_or(SignedDuration::ZERO, |engine| engine.duration_since(asked))
    }
}

/// What is left of the time limit of a container that runs; none for one that has not started.
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
