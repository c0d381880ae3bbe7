//! Claiming a submission for this watcher: of many that try, one succeeds.

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};

use super::watchers::Watchers;
use crate::claim::{self, Claim};

/// What came of claiming a submission.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is ours, now or since an earlier try whose answer was lost.
    Now { attempt: u64 },
    /// It is ours now; the watcher that had it before has ended.
    TakenOver { from: String, attempt: u64 },
    /// Another watcher has it.
    Elsewhere { watcher: String },
    /// The job's folder is that of another submission.
    OfAnother { submission: String },
}

/// Claims a job for this watcher.
pub(super) async fn claim(bucket: &Bucket, key: &Key, submission: &Key, watchers: &Watchers) -> Result<Claimed> {
    watchers.beat().await?;
    let mut mine = Claim {
        submission: submission.as_str().to_owned(),
        watcher: watchers.id().to_owned(),
        owner: watchers.owner().to_owned(),
        claimed_at: Timestamp::now(),
        attempt: 1,
    };
    loop {
        let (old, version) = match bucket.read(key, claim::LARGEST).await {
            Ok((old, version)) => (old, version),
            Err(failure) if failure.kind == Kind::ObjectNotFound => {
                if bucket.put_new(key, mine.to_bytes()).await?.is_some() {
                    return Ok(Claimed::Now { attempt: 1 });
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // What is no claim protects nothing.
        let old = serde_json::from_slice(&old).unwrap_or_else(|_| Claim::free(&mine.submission, 1));
        if old.submission != mine.submission {
            return Ok(Claimed::OfAnother { submission: old.submission });
        }
        if old.watcher == mine.watcher {
            return Ok(Claimed::Now { attempt: old.attempt });
        }
        if !old.is_free() && watchers.lives(&old.watcher).await? {
            return Ok(Claimed::Elsewhere { watcher: old.watcher });
        }
        mine.attempt = old.attempt;
        if bucket.put_if(key, mine.to_bytes(), &version).await?.is_some() {
            return Ok(match old.is_free() {
                true => Claimed::Now { attempt: old.attempt },
                false => Claimed::TakenOver { from: old.owner, attempt: old.attempt },
            });
        }
    }
}
