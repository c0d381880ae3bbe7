//! Removal of a job's work folder after its container.

use super::connection::Engine;
use crate::failure::Kind;
use crate::layout::JobFolder;
use crate::record::Record;

impl Engine {
    /// Removes the work folder of a record's job if no container uses it. Files that were not collected stay, unless
    /// `discard` is set. The caller holds the lock of the folder ([`JobFolder::lock_work`]).
    ///
    /// The container of the next run of a job has the same name and folder as the one that was removed: its results are
    /// lost if the folder is removed below it.
    pub async fn remove_unused_work(&self, folder: &JobFolder, record: &Record, discard: bool) {
        let Ok(Some(name)) = record.container_name() else { return };
        if matches!(self.inspect(&name).await, Err(failure) if failure.kind == Kind::ContainerNotFound) {
            folder.remove_work(discard);
        }
    }
}
