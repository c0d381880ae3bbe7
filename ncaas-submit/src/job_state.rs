//! The state of a submission and of its datasets, decided from what lies in the bucket.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ncaas_core::certificate::Line;
use ncaas_core::claim::Claim;
use ncaas_core::failure::Kind;
use ncaas_core::record::Record;
use ncaas_core::record::submission::State;

/// What the bucket says about a job.
#[derive(Debug, Default)]
pub(crate) struct JobFacts {
    /// The claim, where a watcher has one.
    pub(crate) claim: Option<Claim>,
    /// When the last dataset ended; none before.
    pub(crate) ended_at: Option<Timestamp>,
    /// The saved records of the datasets that have ended, by dataset.
    pub(crate) saved: BTreeMap<u64, Record>,
    /// The certificate's lines about the datasets, while the submission has not ended.
    pub(crate) certificate: Vec<Line>,
    pub(crate) is_cancelled: bool,
}

impl JobFacts {
    /// The state of the submission.
    pub(crate) fn state(&self) -> State {
        if self.ended_at.is_some() {
            self.final_state()
        } else if self.is_cancelled {
            State::Cancelled
        } else if !self.certificate.is_empty() {
            State::Running
        } else if self.claim.is_some() {
            State::Claimed
        } else {
            State::Waiting
        }
    }

    fn final_state(&self) -> State {
        let has = |kind| self.saved.values().any(|record| record.error().is_some_and(|error| error.kind == kind));
        if has(Kind::BadSubmission) {
            State::Refused
        } else if has(Kind::Cancelled) {
            State::Cancelled
        } else if self.saved.values().any(Record::is_failed) {
            State::Failed
        } else {
            State::Success
        }
    }

    /// The status of one dataset, by its number from 1.
    pub(crate) fn dataset_status(&self, dataset: u64) -> String {
        if let Some(record) = self.saved.get(&dataset) {
            return saved_status(record);
        }
        let index = usize::try_from(dataset).unwrap_or(usize::MAX).saturating_sub(1);
        match self.certificate.get(index) {
            Some(line) => line.status.to_lowercase().replace(' ', "-"),
            None if self.ended_at.is_some() => "not-run".to_owned(),
            None => "waiting".to_owned(),
        }
    }
}

/// The status in the saved record of a dataset that has ended.
fn saved_status(record: &Record) -> String {
    let error = record.error().map(|error| error.kind.name());
    let status = || {
        let container = record.as_map().get("container")?;
        container.get("status")?.as_str().map(str::to_owned)
    };
    error.or_else(status).unwrap_or_else(|| "unknown".to_owned())
}
