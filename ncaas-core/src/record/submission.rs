//! The state of a whole submission, as `ncaas-submit ls` emits it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::RecordFields;

/// The state of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SubmissionState {
    /// No watcher has claimed it yet.
    Waiting,
    /// A watcher has claimed it, and none of its jobs runs yet.
    Claimed,
    /// At least one of its jobs has started.
    Running,
    /// The watcher that claimed it is gone, and no other watcher has taken it over.
    Lost,
    /// All its jobs have succeeded.
    Success,
    /// All its jobs have ended, and at least one has failed.
    Failed,
    /// It breaks the platform's rules. None of its jobs was run.
    Refused,
    /// It was cancelled.
    Cancelled,
}

/// The fields of a record that describes a whole submission. `cancel` and `retry` set `state` alone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SubmissionFields {
    /// The state of the submission.
    pub state: SubmissionState,
    /// When the submit file was last written, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub submitted_at: Option<Timestamp>,
    /// When the current watcher claimed it, RFC 3339; null if no watcher has.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub claimed_at: Option<Timestamp>,
    /// Host name and process id of the watcher that claimed it; null if no watcher has.
    #[serde(default)]
    pub owner: Option<String>,
    /// When its last job ended, RFC 3339; null before.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many of its datasets have ended.
    #[serde(default)]
    pub datasets_done: u64,
    /// The state of each dataset, in the submission's order.
    #[serde(default)]
    pub jobs: Vec<DatasetState>,
}

/// The state of one dataset of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetState {
    /// Its number in the submission, from 1.
    pub dataset: u64,
    /// Its key.
    pub dataname: String,
    /// `waiting`; while it runs, the certificate's status (`initializing`, `in-progress`); then the container's status
    /// or the kind of the error that ended it. `not-run` if the submission ended without it.
    pub status: String,
}

/// A record of `ncaas-submit ls`: a submission's record with its state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SubmissionRecord {
    /// The submission; `dataname` lists all its datasets.
    #[serde(flatten)]
    pub known: RecordFields,
    /// Its state.
    #[serde(flatten)]
    pub status: SubmissionFields,
}

/// The record of `ncaas-submit init`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BucketRecord {
    /// The bucket: `s3://name`, or an absolute path.
    pub bucket: String,
    /// The groups that were asked for.
    pub groups: Vec<String>,
    /// URL of the SQS queue that receives the bucket's events, if `--queue` asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}
