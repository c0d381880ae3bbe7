//! The engine, connected to when it is first needed.

use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use tokio::sync::OnceCell;

/// A connection for all records of a run. An engine that does not answer fails the record that needed it; the next
/// record tries again.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    engine: OnceCell<Engine>,
}

impl Connection {
    /// The engine.
    ///
    /// # Errors
    /// Where none answers.
    pub(crate) async fn engine(&self) -> Result<&Engine> {
        self.engine.get_or_try_init(Engine::connect).await
    }
}
