//! Claims: which watcher has handed a submission on, so that no other does.
//!
//! A claim is an object in the job's folder, made and taken over by conditional writes alone. It stays when the job is
//! done, and tells from then on whose the folder is.

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{self, CLAIM};
use serde::{Deserialize, Serialize};

use super::watchers::Watchers;

/// No claim is longer.
const LARGEST: u64 = 64 << 10;

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
}

/// What came of claiming a submission.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is ours now.
    Now,
    /// It is ours now; the watcher that had it before has ended.
    TakenOver { from: String },
    /// It has been ours before.
    Before,
    /// Another watcher has it.
    Elsewhere { watcher: String },
    /// The job's folder is that of another submission.
    OfAnother { submission: String },
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

/// Claims a job for this watcher.
pub(super) async fn claim(bucket: &Bucket, key: &Key, submission: &Key, watchers: &Watchers) -> Result<Claimed> {
    watchers.beat().await?;
    let mine = Claim {
        submission: submission.as_str().to_owned(),
        watcher: watchers.id().to_owned(),
        owner: watchers.owner().to_owned(),
        claimed_at: Timestamp::now(),
    };
    let content = serde_json::to_vec(&mine).unwrap_or_default();
    loop {
        let (old, version) = match bucket.read(key, LARGEST).await {
            Ok((old, version)) => (old, version),
            Err(failure) if failure.kind == Kind::ObjectNotFound => {
                if bucket.put_new(key, content.clone()).await?.is_some() {
                    return Ok(Claimed::Now);
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // What is no claim protects nothing.
        let from = match serde_json::from_slice::<Claim>(&old) {
            Ok(old) if old.submission != mine.submission => {
                return Ok(Claimed::OfAnother { submission: old.submission });
            }
            Ok(old) if old.watcher == mine.watcher => return Ok(Claimed::Before),
            Ok(old) if watchers.lives(&old.watcher).await? => return Ok(Claimed::Elsewhere { watcher: old.watcher }),
            Ok(old) => old.owner,
            Err(_) => "nobody".to_owned(),
        };
        if bucket.put_if(key, content.clone(), &version).await?.is_some() {
            return Ok(Claimed::TakenOver { from });
        }
    }
}
