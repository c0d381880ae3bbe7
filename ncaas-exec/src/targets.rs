//! The containers of a scheduler's job or of a user, and the state of a container in its record.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ncaas_core::engine::{Engine, FileOwner, labels};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;

/// One record for each container of a scheduler's job.
pub(crate) async fn placement_input(engine: &Engine, placement: &str) -> Result<Input> {
    let found = engine.list_labelled(&[labels::TOOL, &format!("{}={placement}", labels::PLACEMENT)]).await?;
    Ok(Input::records(found.iter().map(|container| Record::for_argument(&container.id))))
}

/// Whether the io-dir of a record belongs to this user.
pub(crate) fn belongs_to_user(record: &Record) -> bool {
    let io_dir = record.text("io_dir").and_then(|io_dir| std::fs::metadata(io_dir).ok());
    io_dir.is_some_and(|io_dir| io_dir.uid() == FileOwner::current().uid)
}

/// Checks that a saved record does not name the container of another job. Fails with [`Kind::WrongContainer`].
pub(crate) async fn check_saved_container(engine: &Engine, record: &Record, saved: &Container) -> Result<()> {
    match engine.inspect_labelled_for(record, saved.reference()).await {
        Err(failure) if failure.kind == Kind::WrongContainer => {
            Err(failure.context("the saved record belongs to another job"))
        }
        // The container was removed, or the engine does not answer: then no later stage reaches it either.
        _ => Ok(()),
    }
}

/// Writes the state of a container into its record. If it has ended, the user becomes the owner of its files.
pub(crate) async fn update_record(engine: &Engine, record: &mut Record, container: Container) -> Result<()> {
    let (id, has_ended) = (container.id.clone(), container.has_ended());
    record.set_container(container);
    if has_ended { take_ownership(engine, record, &id).await } else { Ok(()) }
}

/// Makes the user the owner of the files that an ended container wrote to this machine.
pub(crate) async fn take_ownership(engine: &Engine, record: &Record, container: &str) -> Result<()> {
    if let Ok(job) = JobFolder::for_record(record) {
        return engine.repair_ownership(container, &job.mounted()?, FileOwner::current()).await;
    }
    let (Some(io_dir), None) = (record.text("io_dir"), record.job()) else { return Ok(()) };
    let folders = [layout::RESULTS, layout::LOGS].map(|name| Path::new(io_dir).join(name)).into_iter();
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.exists()).collect();
    // A development container also mounts the folders of jobs, which may still run.
    let is_job_folder = |name: &OsStr| name.as_encoded_bytes().starts_with(b"job__");
    engine.repair_ownership_except(container, &folders, FileOwner::current(), is_job_folder).await
}
