//! Claims: which watcher has handed a submission on, so that no other does.
//!
//! A claim is an object in the job's folder, made and taken over by conditional writes alone. It stays when the job is
//! done, and tells from then on whose the folder is.

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{self, CLAIM};
use serde::{Deserialize, Serialize};

/// No claim is longer.
pub(crate) const LARGEST: u64 = 64 << 10;

/// A claim as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Key of the submit file whose job this is.
    pub(crate) submission: String,
    /// Id of the watcher.
    pub(crate) watcher: String,
    /// The watcher's host name and process id, for people.
    pub(crate) owner: String,
    /// When it was made or taken over, RFC 3339.
    pub(crate) claimed_at: Timestamp,
    /// Which attempt at the submission it is for, from 1.
    #[serde(default = "first")]
    pub(crate) attempt: u64,
}

fn first() -> u64 {
    1
}

impl Claim {
    /// A claim that no watcher has: the next one takes it, for a new attempt.
    pub(crate) fn free(submission: &str, attempt: u64) -> Self {
        Claim {
            submission: submission.to_owned(),
            watcher: String::new(),
            owner: String::new(),
            claimed_at: Timestamp::now(),
            attempt,
        }
    }

    /// Whether no watcher has it.
    pub(crate) fn is_free(&self) -> bool {
        self.watcher.is_empty()
    }

    /// The claim as it is written.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The key of a job's claim.
pub(crate) fn key(group: &str, job_id: &str) -> Result<Key> {
    Key::new(format!("{}{CLAIM}", layout::job_prefix(group, job_id)))
}

/// The claim on a job, where there is one that can be read.
pub(crate) async fn read(bucket: &Bucket, key: &Key) -> Result<Option<Claim>> {
    match bucket.read(key, LARGEST).await {
        Ok((content, _)) => Ok(serde_json::from_slice(&content).ok()),
        Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => Ok(None),
        Err(failure) => Err(failure),
    }
}
