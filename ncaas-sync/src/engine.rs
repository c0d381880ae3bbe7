//! The engine, connected to when the first record needs it: one that cannot be reached fails that record, and the next
//! one tries again.

use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use tokio::sync::OnceCell;

/// A connection to come.
#[derive(Debug, Default)]
pub(crate) struct LazyEngine(OnceCell<Engine>);

impl LazyEngine {
    pub(crate) async fn get(&self) -> Result<&Engine> {
        self.0.get_or_try_init(Engine::connect).await
    }
}
