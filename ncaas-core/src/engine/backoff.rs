//! Retry backoff while the engine is unreachable: no job is lost by a restart or an upgrade.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Kind, Result};

/// How long an engine may be unreachable before a tool fails with [`Kind::EngineUnreachable`].
pub const OUTAGE_LIMIT: Duration = Duration::from_secs(60);

/// The pauses between attempts during one outage, up to [`OUTAGE_LIMIT`]. A new one starts when the engine has
/// answered.
#[derive(Debug, Default)]
pub struct Backoff {
    since: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3);

    /// Sleeps, each time longer. It may be dropped.
    ///
    /// # Errors
    /// The failure itself, if waiting cannot help or the outage has lasted too long.
    pub async fn wait(&mut self, failure: Failure) -> Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(pause) = self.next_pause(failure.kind, since.elapsed()) else { return Err(failure) };
        sleep(pause).await;
        Ok(())
    }

    /// The pause before the next attempt, after an outage of `elapsed`; none if there should be no other attempt.
    fn next_pause(&mut self, kind: Kind, elapsed: Duration) -> Option<Duration> {
        if kind == Kind::ContainerNotFound || elapsed >= OUTAGE_LIMIT {
            return None;
        }
        self.pause = (self.pause * 2).clamp(Self::FIRST, Self::LONGEST);
        Some(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_engine_is_given_up_after_the_limit() {
        let mut backoff = Backoff::default();
        let mut elapsed = Duration::ZERO;
        while let Some(pause) = backoff.next_pause(Kind::EngineUnreachable, elapsed) {
            elapsed += pause;
        }
        assert!(elapsed >= OUTAGE_LIMIT && elapsed < OUTAGE_LIMIT + Backoff::LONGEST * 2);
        assert_eq!(Backoff::default().next_pause(Kind::ContainerNotFound, Duration::ZERO), None);
    }
}
