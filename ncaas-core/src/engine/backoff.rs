//! Retry backoff while the engine is unreachable: no job is lost by a restart or an upgrade.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Kind, Result};

/// How long an engine may be unreachable before a tool fails with [`Kind::EngineUnreachable`].
pub const OUTAGE_LIMIT: Duration = Duration::from_secs(60);

/// The pauses between attempts during one outage, up to [`OUTAGE_LIMIT`]. A new one starts when the engine has answered.
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
    async fn an_unreachable_engine_is_given_up_after_the_limit() {
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        let away = || Failure::new(Kind::EngineUnreachable, "away");
        while backoff.wait(away()).await.is_ok() {}
        assert!(begun.elapsed() >= OUTAGE_LIMIT && begun.elapsed() < OUTAGE_LIMIT + Backoff::LONGEST * 2);
        assert!(Backoff::default().wait(Failure::new(Kind::ContainerNotFound, "gone")).await.is_err());
    }
}
