//! Keeps superseded work from writing to the bucket.
//!
//! Another watcher takes over a submission when it has seen no heartbeat for 30 seconds. So a write starts only if the
//! claim was confirmed within the last second, and continues only while the claim is confirmed: a machine without a
//! connection to the bucket abandons its writes before another machine can take over, and checks the claim again when
//! it is connected.

use std::cell::Cell;
use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Job;
use rustix::time::{ClockId, clock_gettime};

/// How old the confirmation of the claim may be when a write starts.
const FRESH: Duration = Duration::from_secs(1);
/// The time between two checks of the claim during a write.
const REFRESH: Duration = Duration::from_secs(5);
/// How long a check of the claim may take before the write is abandoned.
const LIMIT: Duration = Duration::from_secs(15);

/// The claim of one job.
pub(super) struct Fence {
    bucket: Bucket,
    job: Job,
    /// When the claim was last confirmed, by a clock that also runs while the machine sleeps.
    confirmed: Cell<Option<Duration>>,
}

impl Fence {
    pub(super) fn new(bucket: Bucket, job: Job) -> Fence {
        Fence { bucket, job, confirmed: Cell::new(None) }
    }

    /// The bucket that has the claim.
    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Fails with [`Kind::Superseded`] if another watcher or attempt now has the submission.
    pub(super) async fn check(&self) -> Result<()> {
        let start = now();
        if self.confirmed.get().is_none_or(|confirmed| start.saturating_sub(confirmed) > FRESH) {
            claim::check_current(&self.bucket, &self.job).await?;
            self.confirmed.set(Some(start));
        }
        Ok(())
    }

    /// Writes as long as the claim is confirmed. An abandoned write starts again when the claim is confirmed.
    pub(super) async fn write<T>(&self, write: impl AsyncFn() -> Result<T>) -> Result<T> {
        loop {
            self.check().await?;
            tokio::select! {
                biased;
                failure = self.wait_until_unconfirmed() => if let Some(failure) = failure { return Err(failure) },
                written = write() => return written,
            }
        }
    }

    /// Checks the claim repeatedly. Returns the failure of superseded work, or `None` if the claim cannot be confirmed
    /// in time.
    async fn wait_until_unconfirmed(&self) -> Option<Failure> {
        loop {
            tokio::time::sleep(REFRESH).await;
            let start = now();
            match tokio::time::timeout(LIMIT, claim::check_current(&self.bucket, &self.job)).await {
                Ok(Ok(())) => self.confirmed.set(Some(start)),
                Ok(Err(failure)) if failure.kind == Kind::Superseded => return Some(failure),
                _ => return None,
            }
        }
    }
}

fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}
