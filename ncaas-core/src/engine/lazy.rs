//! The engine of a filter: connected when the first record needs it, or while the filter waits for that record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::backoff::{Backoff, OUTAGE_LIMIT};
use super::connection::Engine;
use crate::failure::{Failure, Kind, Result};
use crate::record::Record;
use crate::tool::Tool;

/// How long an engine may take to answer after an outage.
const PING_TIME: Duration = Duration::from_secs(10);
/// How many outages of the engine one record may see.
const MAX_OUTAGES: u32 = 3;

/// A connection for all records of a run. If the engine does not answer, the record that needed it fails, and the next
/// record tries again.
#[derive(Debug, Default)]
pub struct LazyEngine {
    engine: OnceCell<Engine>,
    /// Whether the outage has been reported.
    is_reported: AtomicBool,
    /// Whether the last outage outlasted its limit: further records do not wait.
    given_up: AtomicBool,
}

impl LazyEngine {
    /// The engine.
    ///
    /// # Errors
    /// Same as [`Engine::connect`].
    pub async fn get(&self) -> Result<&Engine> {
        self.engine.get_or_try_init(Engine::connect).await
    }

    /// Runs `work` and connects in the background, so that the connection is ready when the first record arrives.
    pub async fn connect_during<T>(&self, work: impl Future<Output = T>) -> T {
        let connect = async {
            // The first record that needs the engine tries again, and reports the failure.
            let _ = self.get().await;
            std::future::pending().await
        };
        tokio::select! { biased; done = work => done, never = connect => never }
    }

    /// Runs a record's work with the engine. If the engine becomes unreachable, waits for it and repeats the work,
    /// which must be harmless.
    ///
    /// It fails immediately if the engine has never answered and the record shows no running container: the engine may
    /// not have been started.
    ///
    /// # Errors
    /// The failure of `work`; [`Kind::EngineUnreachable`] if the engine is unreachable for longer than
    /// [`OUTAGE_LIMIT`].
    pub async fn with_retry<T>(
        &self,
        tool: Tool,
        record: &mut Record,
        work: impl AsyncFn(&Engine, &mut Record) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..MAX_OUTAGES {
            let worked = async { work(self.get().await?, record).await }.await;
            let is_known = || self.engine.initialized() || is_alive(record);
            self.given_up.fetch_and(worked.is_err(), Ordering::Relaxed);
            match worked {
                Err(failure)
                    if failure.kind == Kind::EngineUnreachable
                        && is_known()
                        && !self.given_up.load(Ordering::Relaxed) =>
                {
                    self.wait_until_reachable(tool, failure).await?;
                }
                worked => return worked,
            }
        }
        work(self.get().await?, record).await
    }

    /// Waits until the engine answers again.
    async fn wait_until_reachable(&self, tool: Tool, mut failure: Failure) -> Result<()> {
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            tool.note(&format!("{failure}; waiting up to {} s for it", OUTAGE_LIMIT.as_secs()));
        }
        let mut backoff = Backoff::default();
        loop {
            if let Err(failure) = backoff.wait(failure).await {
                self.given_up.store(true, Ordering::Relaxed);
                return Err(failure);
            }
            let answered = async { self.get().await?.ping(PING_TIME).await };
            match answered.await {
                Ok(()) => break,
                Err(still) => failure = still,
            }
        }
        self.is_reported.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether the record's container had not ended when it was last looked at.
fn is_alive(record: &Record) -> bool {
    record.container().is_some_and(|container| !container.state.is_empty() && !container.has_ended())
}
