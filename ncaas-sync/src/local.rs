//! Files of this machine, worked on where that does not keep the runtime's only thread from its other work.

use std::fs::File;
use std::path::Path;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;

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

/// Waits for a lock between processes and tasks, held until the file is dropped.
pub(crate) async fn lock(folder: &Path, name: impl Into<String>) -> Result<File> {
    let (folder, name) = (folder.to_owned(), name.into());
    blocking(move || files::lock(&folder, &name)).await
}
