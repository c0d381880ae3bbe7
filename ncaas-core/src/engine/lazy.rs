//! The engine of a filter, connected to when the first record needs it, or while it is waited for.

use tokio::sync::OnceCell;

use super::Engine;
use crate::failure::Result;

/// A connection for all records of a run. An engine that does not answer fails the record that needed it; the next
/// record tries again, so that none is lost.
#[derive(Debug, Default)]
pub struct LazyEngine(OnceCell<Engine>);

impl LazyEngine {
    /// The engine.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn get(&self) -> Result<&Engine> {
        self.0.get_or_try_init(Engine::connect).await
    }

    /// Does `work`, and connects meanwhile: a stage that waits for its first record has the engine at hand when it
    /// comes.
    pub async fn ahead_of<T>(&self, work: impl Future<Output = T>) -> T {
        let connect = async {
            // The first record that needs the engine tries again, and tells of the failure.
            let _ = self.get().await;
            std::future::pending().await
        };
        tokio::select! { biased; done = work => done, never = connect => never }
    }
}
