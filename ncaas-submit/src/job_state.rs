//! The state of a submission and of its datasets, decided from the bucket's contents.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ncaas_core::certificate::{DatasetLine, DatasetStatus};
use ncaas_core::claim::Claim;
use ncaas_core::failure::Kind;
use ncaas_core::record::Record;
use ncaas_core::record::fields::StoppedBy;
use ncaas_core::record::submission::SubmissionState;
use ncaas_core::text::serialized_name;

/// The facts about a job in its bucket.
#[derive(Debug, Default)]
pub(crate) struct JobFacts {
    /// The claim, if a watcher has one.
    pub(crate) claim: Option<Claim>,
    /// When the last dataset ended; none before.
    pub(crate) ended_at: Option<Timestamp>,
    /// The saved records of the datasets that have ended, by dataset.
    pub(crate) saved: BTreeMap<u64, Record>,
    /// The certificate's lines about the datasets, if no saved records say how they ended.
    pub(crate) certificate: Vec<DatasetLine>,
    pub(crate) is_cancelled: bool,
    /// Whether the watcher that has the claim is gone.
    pub(crate) is_watcher_lost: bool,
    /// Whether a status file says that its dataset failed, of a job without saved records.
    pub(crate) has_failed_status: bool,
}

impl JobFacts {
    pub(crate) fn state(&self) -> SubmissionState {
        if self.ended_at.is_some() {
            self.final_state()
        } else if self.is_cancelled {
            SubmissionState::Cancelled
        } else if self.claim.is_some() && self.is_watcher_lost {
            SubmissionState::Lost
        } else if self.certificate.iter().any(|line| !line.has_status(DatasetStatus::Initializing)) {
            SubmissionState::Running
        } else if self.claim.is_some() {
            SubmissionState::Claimed
        } else {
            SubmissionState::Waiting
        }
    }

    fn final_state(&self) -> SubmissionState {
        let has = |kind| self.find_error(kind).is_some();
        if has(Kind::BadSubmission) {
            SubmissionState::Refused
        } else if has(Kind::Cancelled) || (self.is_cancelled && self.has_failed()) {
            SubmissionState::Cancelled
        } else if self.has_failed() {
            SubmissionState::Failed
        } else {
            SubmissionState::Success
        }
    }

    /// The message of the error of that kind that has ended a dataset.
    pub(crate) fn find_error(&self, kind: Kind) -> Option<String> {
        let mut errors = self.saved.values().filter_map(Record::error);
        errors.find(|error| error.kind == kind).map(|error| error.message)
    }

    fn has_failed(&self) -> bool {
        let failed = |line: &DatasetLine| DatasetStatus::from_name(&line.status) == Some(DatasetStatus::Failed);
        self.saved.values().any(Record::is_failed) || self.certificate.iter().any(failed) || self.has_failed_status
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
        let text = |field: &str| container.get(field)?.as_str().map(str::to_owned);
        text("stopped_by").filter(|by| *by == serialized_name(&StoppedBy::Cancelled)).or_else(|| text("status"))
    };
    error.or_else(status).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncaas_core::certificate::Certificate;

    fn lines(statuses: &[&str]) -> Vec<DatasetLine> {
        let lines = statuses.iter().map(|status| format!("DATANAME: d | STATUS: {status} | TIME: N/A"));
        let text = format!("T\n================\n{}\n================\n", lines.collect::<Vec<_>>().join("\n"));
        Certificate::parse(&text).lines()
    }

    fn saved(lines: &[&str]) -> BTreeMap<u64, Record> {
        (1..).zip(lines.iter().map(|line| Record::parse(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_state_follows_from_the_objects_in_the_bucket() {
        let claimed = || JobFacts { claim: Some(Claim::free("a", 1, 1)), ..JobFacts::default() };
        let ended = || JobFacts { ended_at: Some(Timestamp::UNIX_EPOCH), ..claimed() };
        let success = r#"{"container":{"status":"success"}}"#;
        let killed = r#"{"container":{"status":"killed"}}"#;
        let refused = r#"{"error":{"tool":"t","kind":"bad-submission","message":"m","hint":null}}"#;
        let cancelled = r#"{"error":{"tool":"t","kind":"cancelled","message":"m","hint":null}}"#;
        let cases = [
            (JobFacts::default(), SubmissionState::Waiting),
            (JobFacts { is_watcher_lost: true, ..JobFacts::default() }, SubmissionState::Waiting),
            (claimed(), SubmissionState::Claimed),
            (JobFacts { certificate: lines(&["INITIALIZING"]), ..claimed() }, SubmissionState::Claimed),
            (JobFacts { certificate: lines(&["INITIALIZING", "IN PROGRESS"]), ..claimed() }, SubmissionState::Running),
            (
                JobFacts { certificate: lines(&["IN PROGRESS"]), is_watcher_lost: true, ..claimed() },
                SubmissionState::Lost,
            ),
            (JobFacts { is_cancelled: true, is_watcher_lost: true, ..claimed() }, SubmissionState::Cancelled),
            (JobFacts { saved: saved(&[success]), ..ended() }, SubmissionState::Success),
            (JobFacts { saved: saved(&[success, killed]), ..ended() }, SubmissionState::Failed),
            (JobFacts { saved: saved(&[success, killed]), is_cancelled: true, ..ended() }, SubmissionState::Cancelled),
            (JobFacts { saved: saved(&[success]), is_cancelled: true, ..ended() }, SubmissionState::Success),
            (JobFacts { saved: saved(&[cancelled]), ..ended() }, SubmissionState::Cancelled),
            (JobFacts { saved: saved(&[refused]), ..ended() }, SubmissionState::Refused),
            (JobFacts { certificate: lines(&["SUCCESS", "FAILED"]), ..ended() }, SubmissionState::Failed),
            (JobFacts { certificate: lines(&["SUCCESS"]), ..ended() }, SubmissionState::Success),
            (JobFacts { has_failed_status: true, ..ended() }, SubmissionState::Failed),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.state(), expected, "{facts:?}");
        }
    }
}
