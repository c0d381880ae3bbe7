//! Blocking work on other threads. All other work of a tool shares one thread.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_recursion::async_recursion as boxed;
use tokio::task::JoinError;

use crate::failure::{Failure, Kind, Result};

/// Locks a mutex whose value is usable after a panic of the thread that held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work on another thread.
///
/// # Errors
/// The failure of `work`; [`Kind::Interrupted`] if the runtime ends first.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = run_boxed(Box::new(move || work().map(|value| Box::new(value) as AnyValue))).await?;
    match done.downcast() {
        Ok(value) => Ok(*value),
        Err(_) => unreachable!("the work returned a value of its own type"),
    }
}

type AnyValue = Box<dyn Any + Send>;

/// Same as [`run_blocking`], without the types, so that the runtime's code for a task is compiled once and not for each
/// caller.
#[boxed]
async fn run_boxed(work: Box<dyn FnOnce() -> Result<AnyValue> + Send>) -> Result<AnyValue> {
    join_blocking(tokio::task::spawn_blocking(work)).await
}

/// Waits for blocking work, or a task, that was started before.
///
/// # Errors
/// Same as [`run_blocking`].
pub async fn join_blocking<T>(work: impl Future<Output = Result<Result<T>, JoinError>>) -> Result<T> {
    work.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Failure::new(Kind::Interrupted, "interrupted before the work was complete")),
    })
}

/// Same as [`run_blocking`], for long work such as copying a large file. The work checks whether its caller still
/// waits, so that an interrupted tool does not wait for it.
pub(crate) async fn run_cancellable<T: Send + 'static>(
    work: impl FnOnce(&CancelCheck) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Arc::new(());
    let check = CancelCheck(Arc::downgrade(&waiting));
    let done = run_blocking(move || work(&check)).await;
    drop(waiting);
    done
}

/// Shows cancellable work whether its caller still waits for the result.
#[derive(Debug)]
pub struct CancelCheck(Weak<()>);

impl CancelCheck {
    /// Fails if the caller has stopped waiting.
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
