//! Work that blocks, on a thread of its own: the tools have one thread for everything else.

use std::sync::{Arc, Weak};

use crate::failure::{Failure, Kind, Result};

/// Runs blocking work on a thread of its own.
///
/// # Errors
/// What `work` fails with; [`Kind::Interrupted`] where the runtime ends first.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Failure::new(Kind::Interrupted, "interrupted before it was done")),
        },
    }
}

/// As [`run_blocking`], for work that takes as long as a file is large. The work can ask whether the caller still waits,
/// so that an interrupted tool neither waits for it nor leaves a file half written.
///
/// # Errors
/// As [`run_blocking`].
pub async fn run_cancellable<T: Send + 'static>(
    work: impl FnOnce(&CancelCheck) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Arc::new(());
    let check = CancelCheck(Arc::downgrade(&waiting));
    let done = run_blocking(move || work(&check)).await;
    drop(waiting);
    done
}

/// Tells cancellable work whether its caller still waits for the outcome.
#[derive(Debug)]
pub struct CancelCheck(Weak<()>);

impl CancelCheck {
    /// Fails when nobody waits any more.
    ///
    /// # Errors
    /// [`Kind::Interrupted`].
    pub fn check(&self) -> Result<()> {
        match self.0.strong_count() {
            0 => Err(Failure::new(Kind::Interrupted, "interrupted while a file was copied")),
            _ => Ok(()),
        }
    }
}
