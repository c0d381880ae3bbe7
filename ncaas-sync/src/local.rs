//! Files of this machine, worked on where that does not keep the runtime's only thread from its other work.

use ncaas_core::failure::{Failure, Kind, Result};

/// Runs what blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::new(Kind::Interrupted, "interrupted before it was done")),
        },
    }
}

/// Whether bytes are nothing but zeros, and enough of them for a file system to leave them out.
pub(crate) fn is_hole(bytes: &[u8]) -> bool {
    const BLOCK: usize = 4096;
    bytes.len() >= BLOCK && bytes.chunks(BLOCK).all(|block| *block == [0; BLOCK][..block.len()])
}
