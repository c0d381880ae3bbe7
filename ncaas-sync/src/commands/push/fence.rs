//! Keeps superseded work from writing to the bucket.
//!
//! Another watcher takes a submission over when it has seen no heartbeat for 30 seconds. So a write is started only if
//! the claim was looked at within the last second, and goes on only while the claim is confirmed: a machine that is cut off
//! from the bucket abandons its writes before anybody can take its work over, and looks at the claim again when it is
//! back.

use std::cell::Cell;
use std::time::Duration;

use ncaas_core::bucket::Bucket;
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::record::fields::Job;
use rustix::time::{ClockId, clock_gettime};

/// How long a look at the claim counts for the start of a write.
const FRESH: Duration = Duration::from_secs(1);
/// Pause between two looks at the claim during a write.
const REFRESH: Duration = Duration::from_secs(5);
/// How long a look at the claim may take before the write is abandoned.
const LIMIT: Duration = Duration::from_secs(15);

/// The claim of one job.
pub(super) struct Fence {
    bucket: Bucket,
    job: Job,
    /// When the claim was confirmed last, by a clock that goes on while the machine sleeps.
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

    /// Fails with [`Kind::Superseded`] if another watcher or attempt has the submission by now.
    pub(super) async fn check(&self) -> Result<()> {
        let start = now();
        if self.confirmed.get().is_none_or(|confirmed| start.saturating_sub(confirmed) > FRESH) {
            claim::check_current(&self.bucket, &self.job).await?;
            self.confirmed.set(Some(start));
        }
        Ok(())
    }

    /// Writes while the work counts. A write that is abandoned starts again once the claim is confirmed.
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

    /// Looks at the claim again and again. Returns the failure of work that is superseded, or `None` as soon as the claim
    /// cannot be confirmed in time.
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
