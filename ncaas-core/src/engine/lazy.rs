//! The engine of a filter, connected to when the first record needs it.

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
}
