//! How long a reader tolerates an engine that does not answer.

use ncaas_core::engine::OUTAGE_LIMIT;
use ncaas_core::failure::{Failure, Result};
use tokio::time::Instant;

/// The time since which the engine has not answered.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// The engine has answered.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    /// The engine has failed.
    ///
    /// # Errors
    /// The failure itself, when the outage has lasted too long.
    pub(super) fn tolerate(&mut self, failure: Failure) -> Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < OUTAGE_LIMIT { Ok(()) } else { Err(failure) }
    }
}
