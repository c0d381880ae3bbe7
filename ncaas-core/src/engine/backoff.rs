//! How long an engine that is away is put up with: a restart or an upgrade takes a moment, and no job is lost for it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Kind, Result};

/// How long an engine may be away (a restart, an upgrade) before it is given up with [`Kind::EngineUnreachable`].
pub const OUTAGE_LIMIT: Duration = Duration::from_secs(60);

/// What is left of the patience with an engine that fails.
#[derive(Default)]
pub(super) struct Backoff {
    since: Option<Instant>,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3);

    /// Sleeps a little longer each time; gives the failure back where waiting cannot help, or has not for too long.
    pub(super) async fn wait(&mut self, failure: Failure) -> Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if failure.kind == Kind::ContainerNotFound || since.elapsed() >= OUTAGE_LIMIT {
            return Err(failure);
        }
        self.pause = (self.pause * 2).clamp(Self::FIRST, Self::LONGEST);
        sleep(self.pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_stays_away_is_given_up_after_a_bounded_time() {
        let begun = Instant::now();
        let mut patience = Backoff::default();
        let away = || Failure::new(Kind::EngineUnreachable, "away");
        while patience.wait(away()).await.is_ok() {}
        assert!(begun.elapsed() >= OUTAGE_LIMIT && begun.elapsed() < OUTAGE_LIMIT + Backoff::LONGEST * 2);
        assert!(Backoff::default().wait(Failure::new(Kind::ContainerNotFound, "gone")).await.is_err());
    }
}
