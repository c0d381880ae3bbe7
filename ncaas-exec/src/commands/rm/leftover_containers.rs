//! Containers and work folders of ended jobs that an interrupted pipe has left.
//!
//! If `ncaas-exec rm` dies after the end of a submission is in the bucket, no stage sees its record again. If
//! `ncaas-exec run` dies, the engine may create the job's container when another pipe has already ended the job. The
//! next `rm` of a pipe for the same bucket and io-dir removes the container.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use ncaas_core::engine::Engine;
use ncaas_core::engine::labels;
use ncaas_core::failure::Result;
use ncaas_core::layout::{END_PATH, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Finds the leftovers of each bucket and io-dir once.
#[derive(Debug, Default)]
pub(crate) struct LeftoverContainers {
    searched: RefCell<HashSet<(String, String)>>,
}

impl LeftoverContainers {
    /// The records of ended jobs in the bucket and io-dir of `pushed`, a record whose job is over, that still have a
    /// container without anything to collect. Empty at every later call for the same two.
    pub(crate) async fn find(&self, engine: &Engine, pushed: &Record) -> Result<Vec<Record>> {
        let Some(place) = bucket_and_io_dir(pushed) else { return Ok(Vec::new()) };
        if !self.searched.borrow_mut().insert(place.clone()) {
            return Ok(Vec::new());
        }
        let found = engine.list_labelled(&[labels::JOB]).await?;
        let left = found.iter().filter_map(|container| {
            let mut record = container.record()?;
            let is_own = bucket_and_io_dir(&record).as_ref() == Some(&place) && record.identity() != pushed.identity();
            let (id, state) = (container.id.clone(), container.state.clone());
            record.set("container", &Container { id, state, ..Container::default() });
            (is_own && is_left_over(engine, &record, &container.state)).then_some(record)
        });
        Ok(left.collect())
    }
}

/// The bucket of a record's job, and its io-dir.
fn bucket_and_io_dir(record: &Record) -> Option<(String, String)> {
    Some((record.job()?.bucket?, record.text("io_dir")?.to_owned()))
}

/// Whether no stage comes back to the container of a job: the end of its submission is known on this machine, and the
/// container has ended or was never started.
fn is_left_over(engine: &Engine, record: &Record, state: &str) -> bool {
    let Ok(folder) = JobFolder::for_record(record) else { return false };
    match state {
        "exited" => is_over(&folder) && folder.saved_record().is_some() || has_ended_elsewhere(engine, &folder),
        // In a new attempt, `run` may be about to start it.
        "created" => is_over(&folder) && !matches!(try_lock(&folder.work()), Some(Err(Errno::WOULDBLOCK))),
        _ => false,
    }
}

/// Whether another machine has ended the job: `ncaas-sync pull` has learnt that from the bucket, and noted it in the
/// work folder, or removed the work folder because the job wrote no result to it. A job of a remote engine writes none
/// there.
pub(crate) fn has_ended_elsewhere(engine: &Engine, folder: &JobFolder) -> bool {
    let is_removed = || !engine.is_remote() && !folder.record_file().exists() && !folder.work().exists();
    folder.is_superseded() || is_over(folder) && is_removed()
}

fn is_over(folder: &JobFolder) -> bool {
    folder.root().join(END_PATH).is_file()
}

/// Locks a folder, if it exists and no other process has locked it.
fn try_lock(folder: &Path) -> Option<Result<File, Errno>> {
    let file = File::open(folder).ok()?;
    Some(flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file))
}
