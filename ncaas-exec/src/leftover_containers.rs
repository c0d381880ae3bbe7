//! Containers of ended jobs that an interrupted pipe has left.
//!
//! If `ncaas-exec rm` dies after the end of a submission is in the bucket, no stage sees its record again. The next `rm` of a
//! pipe for the same bucket and io-dir removes the container.

use std::cell::RefCell;
use std::collections::HashSet;

use ncaas_core::engine::Engine;
use ncaas_core::engine::labels::{self, LabelledContainer};
use ncaas_core::failure::Result;
use ncaas_core::layout::{END_FILE, JobFolder, PROCESS_RESULTS};
use ncaas_core::record::Record;

/// Finds the leftovers of each bucket and io-dir once.
#[derive(Debug, Default)]
pub(crate) struct LeftoverContainers {
    searched: RefCell<HashSet<(String, String)>>,
}

impl LeftoverContainers {
    /// The records of ended jobs in the bucket and io-dir of `pushed`, a record whose job is over, that still have a
    /// container. Empty at every later call for the same two.
    pub(crate) async fn find(&self, engine: &Engine, pushed: &Record) -> Result<Vec<Record>> {
        let Some(place) = bucket_and_io_dir(pushed) else { return Ok(Vec::new()) };
        if !self.searched.borrow_mut().insert(place.clone()) {
            return Ok(Vec::new());
        }
        let found = engine.list_labelled(&[labels::JOB]).await?;
        let ended = found.iter().filter(|container| container.state == "exited").filter_map(LabelledContainer::record);
        let own = ended.filter(|record| bucket_and_io_dir(record).as_ref() == Some(&place));
        Ok(own.filter(|record| record.identity() != pushed.identity() && is_over(record)).collect())
    }
}

/// The bucket of a record's job, and its io-dir.
fn bucket_and_io_dir(record: &Record) -> Option<(String, String)> {
    Some((record.job()?.bucket?, record.text("io_dir")?.to_owned()))
}

/// Whether the end of a job's submission was pushed from this machine.
fn is_over(record: &Record) -> bool {
    let Ok(folder) = JobFolder::for_record(record) else { return false };
    folder.root().join(PROCESS_RESULTS).join(END_FILE).is_file() && folder.saved_record().is_some()
}
