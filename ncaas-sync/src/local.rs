//! Files of this machine, worked on where that does not keep the runtime's only thread from its other work.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
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

/// An empty folder at `path`, whatever was there before.
pub(crate) async fn fresh_folder(path: PathBuf) -> Result<()> {
    blocking(move || {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io("empty the folder", &path, &error));
            }
            _ => {}
        }
        files::make_folder(&path)
    })
    .await
}

/// Copies a small file so that the copy appears whole, unless it is there already.
pub(crate) fn copy_whole(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).doing("read", from)?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    files::write_whole(to, &content)
}
