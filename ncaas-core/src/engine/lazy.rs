//! The engine of a filter, connected to when the first record needs it, or while it is waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::Engine;
use super::backoff::{Backoff, OUTAGE_LIMIT};
use crate::failure::{Failure, Kind, Result};
use crate::record::Record;
use crate::tool::Tool;

/// How long an engine that has been away may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How many times an engine may go away while one record is worked on.
const OUTAGES: u32 = 3;

/// A connection for all records of a run. An engine that does not answer fails the record that needed it; the next
/// record tries again, so that none is lost.
#[derive(Debug, Default)]
pub struct LazyEngine {
    engine: OnceCell<Engine>,
    /// The person has been told that the engine is waited for.
    told: AtomicBool,
    /// It was waited for in vain: the next records need not.
    given_up: AtomicBool,
}

impl LazyEngine {
    /// The engine.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn get(&self) -> Result<&Engine> {
        self.engine.get_or_try_init(Engine::connect).await
    }

    /// Does `work`, and connects meanwhile: a stage that waits for its first record has the engine at hand when it
    /// comes.
    pub async fn connect_during<T>(&self, work: impl Future<Output = T>) -> T {
        let connect = async {
            // The first record that needs the engine tries again, and tells of the failure.
            let _ = self.get().await;
            std::future::pending().await
        };
        tokio::select! { biased; done = work => done, never = connect => never }
    }

    /// Does a record's work with the engine. An engine that goes away meanwhile, or is just being restarted, is waited
    /// for, and the work done again: it has to be such that what was done before does no harm.
    ///
    /// An engine that nobody has seen at work is not waited for: who has forgotten to start it is to hear so at once. It
    /// was seen where it has answered us before, or where the record says that its container has not ended.
    ///
    /// # Errors
    /// What `work` fails with; [`Kind::EngineUnreachable`] where the engine stays away for longer than [`OUTAGE_LIMIT`].
    pub async fn with_retry<T>(
        &self,
        tool: Tool,
        record: &mut Record,
        work: impl AsyncFn(&Engine, &mut Record) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..OUTAGES {
            let worked = async { work(self.get().await?, record).await }.await;
            let seen = || self.engine.initialized() || is_alive(record);
            self.given_up.fetch_and(worked.is_err(), Ordering::Relaxed);
            match worked {
                Err(failure)
                    if failure.kind == Kind::EngineUnreachable && seen() && !self.given_up.load(Ordering::Relaxed) =>
                {
                    self.outlast(tool, failure).await?;
                }
                worked => return worked,
            }
        }
        work(self.get().await?, record).await
    }

    /// Waits until the engine answers again.
    async fn outlast(&self, tool: Tool, mut failure: Failure) -> Result<()> {
        if !self.told.swap(true, Ordering::Relaxed) {
            tool.note(&format!("{failure}; waiting for it, up to {} s", OUTAGE_LIMIT.as_secs()));
        }
        let mut patience = Backoff::default();
        loop {
            if let Err(failure) = patience.wait(failure).await {
                self.given_up.store(true, Ordering::Relaxed);
                return Err(failure);
            }
            let answered = async { self.get().await?.ping(ANSWER).await };
            match answered.await {
                Ok(()) => break,
                Err(still) => failure = still,
            }
        }
        self.told.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether the record's container had not ended when it was last looked at.
fn is_alive(record: &Record) -> bool {
    record.container().is_some_and(|container| !container.state.is_empty() && !container.has_ended())
}
