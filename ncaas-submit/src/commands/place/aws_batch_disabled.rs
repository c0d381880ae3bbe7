//! Stands in for the queue of AWS Batch in a build without the feature `batch`.
#![cfg_attr(feature = "batch", expect(dead_code, reason = "tests compile it beside the real queue"))]

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::Record;

use super::node_script::NodeOptions;
use super::request::JobRequest;
use super::scheduled_job::ScheduledJob;

/// A queue that does not exist in such a build.
pub(crate) enum BatchQueue {}

impl BatchQueue {
    /// # Errors
    /// Always.
    pub(crate) async fn open(_: &str, _: &str) -> Result<Self> {
        Err(Failure::new(Kind::Usage, "this `ncaas-submit` was built without AWS Batch").hint(
            "the packages of a release have it; from source, `make install FEATURES=ncaas-submit/batch` builds and installs it",
        ))
    }

    pub(super) async fn look_up(&self, _: &str) -> Result<()> {
        match *self {}
    }

    pub(super) async fn list(&self) -> Result<Vec<ScheduledJob>> {
        match *self {}
    }

    pub(super) async fn submit(&self, _: &JobRequest, _: &Record, _: &NodeOptions, _: u64) -> Result<String> {
        match *self {}
    }

    pub(super) async fn forget(&self, _: &str, _: &Record) {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_without_batch_names_the_build_that_has_it() {
        let Err(refused) = BatchQueue::open("queue", "job").await;
        assert_eq!(refused.message, "this `ncaas-submit` was built without AWS Batch");
        assert!(refused.hint.unwrap().contains("make install FEATURES=ncaas-submit/batch"));
    }
}
