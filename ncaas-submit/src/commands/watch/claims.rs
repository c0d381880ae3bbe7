//! Claiming a submission: of several watchers that try, one succeeds.

use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::claim::{self, Claim};
use ncaas_core::failure::{Failure, Kind, Result};

use crate::bucket_job::ResultsFolder;
use crate::watchers::heartbeat::{HolderState, Watchers};

/// How often a claim is tried again because another watcher was faster.
const ATTEMPTS: u32 = 20;
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) enum ClaimOutcome {
    /// This watcher has it, by this request or by an earlier one whose answer was lost. `previous` had it before.
    Ours { claim: Claim, previous: Option<String> },
    /// Another watcher has it.
    Elsewhere { watcher: String },
    /// The job's folder belongs to another submission.
    OtherSubmission { submission: String },
    /// The platform itself runs it: its folder has a certificate and no claim.
    OnPlatform,
}

/// The next step for a submission's claim.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Write a claim with this number of losses. `replaces_claim` tells whether it replaces another watcher's claim.
    Write {
        losses: u32,
        replaces_claim: bool,
    },
    /// It is ours already.
    Keep,
    /// Another watcher has it.
    Leave,
    /// The folder belongs to another submission.
    OtherSubmission,
    OnPlatform,
}

/// Decides about a claim. `holder` is the state of the watcher that has it, `has_certificate` whether the job's folder has a
/// certificate that these tools did not write.
fn decide(
    old: Option<&Claim>,
    submission: &str,
    watcher: &str,
    holder: HolderState,
    has_certificate: bool,
) -> Decision {
    match old {
        None if has_certificate => Decision::OnPlatform,
        None => Decision::Write { losses: 0, replaces_claim: false },
        Some(old) if !old.submission.is_empty() && old.submission != submission => Decision::OtherSubmission,
        Some(old) if old.is_free() => Decision::Write { losses: 0, replaces_claim: false },
        Some(old) if old.watcher == watcher => Decision::Keep,
        Some(old) => match holder {
            HolderState::Resumable => Decision::Write { losses: old.losses, replaces_claim: true },
            HolderState::Gone => Decision::Write { losses: old.losses + 1, replaces_claim: true },
            HolderState::Alive | HolderState::Unconfirmed | HolderState::Held => Decision::Leave,
        },
    }
}

/// Claims a job for this watcher. `superseded_number` is the number of the claim on it that this watcher has lost, or 0.
pub(crate) async fn acquire(
    bucket: &Bucket,
    id: &str,
    submission: &Key,
    results: &ResultsFolder,
    watchers: &Watchers,
    superseded_number: u64,
) -> Result<ClaimOutcome> {
    watchers.renew().await?;
    let group = submission.group();
    let key = claim::key(group, id)?;
    for _ in 0..ATTEMPTS {
        let old = claim::read(bucket, group, id).await?;
        let holder = match &old {
            Some((old, _)) if !old.is_free() => watchers.state(&old.watcher).await?,
            _ => HolderState::Gone,
        };
        let has_certificate = old.is_none() && results.has_foreign_certificate().await?;
        let claim = old.as_ref().map(|(claim, _)| claim);
        let (losses, replaces_claim) = match decide(claim, submission.as_str(), watchers.id(), holder, has_certificate)
        {
            Decision::Write { losses, replaces_claim } => (losses, replaces_claim),
            Decision::OnPlatform => return Ok(ClaimOutcome::OnPlatform),
            decision => {
                let old = old.map_or_else(|| Claim::free("", 1, 0), |(claim, _)| claim);
                return Ok(match decision {
                    Decision::Leave => ClaimOutcome::Elsewhere { watcher: old.watcher },
                    Decision::OtherSubmission => ClaimOutcome::OtherSubmission { submission: old.submission },
                    _ => ClaimOutcome::Ours { claim: old, previous: None },
                });
            }
        };
        let mine = Claim {
            submission: submission.as_str().to_owned(),
            watcher: watchers.id().to_owned(),
            owner: watchers.owner().to_owned(),
            host: watchers.host().to_owned(),
            claimed_at: Timestamp::now(),
            attempt: claim.map_or(1, |old| old.attempt),
            number: claim.map_or(0, |old| old.number).max(superseded_number) + 1,
            losses,
            runs: claim.map(|old| old.runs.clone()).unwrap_or_default(),
        };
        let written = match &old {
            Some((_, version)) => bucket.put_if(&key, mine.to_bytes(), version).await?,
            None => bucket.put_new(&key, mine.to_bytes()).await?,
        };
        // Otherwise another watcher was faster, or the answer to our own earlier request was lost: read it again.
        if written.is_some() {
            let previous = old.filter(|_| replaces_claim).map(|(old, _)| old.owner);
            return Ok(ClaimOutcome::Ours { claim: mine, previous });
        }
        tokio::time::sleep(PAUSE).await;
    }
    let message = format!("cannot claim `{}/{key}`: other processes keep changing it", bucket.address());
    Err(Failure::new(Kind::BucketError, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_written_only_where_no_living_watcher_has_it() {
        use HolderState::{Alive, Gone, Held, Resumable, Unconfirmed};
        let claim = |submission: &str, watcher: &str, losses| {
            let free = Claim::free(submission, 1, 4);
            Some(Claim { watcher: watcher.to_owned(), losses, ..free })
        };
        let write = |losses, replaces_claim| Decision::Write { losses, replaces_claim };
        let cases = [
            (None, Gone, false, write(0, false)),
            (None, Gone, true, Decision::OnPlatform),
            (claim("a", "", 3), Gone, true, write(0, false)),
            (claim("", "", 0), Gone, false, write(0, false)),
            (claim("b", "", 0), Gone, false, Decision::OtherSubmission),
            (claim("b", "other", 0), Gone, false, Decision::OtherSubmission),
            (claim("a", "me", 1), Alive, false, Decision::Keep),
            (claim("a", "other", 0), Alive, false, Decision::Leave),
            (claim("a", "other", 0), Unconfirmed, false, Decision::Leave),
            (claim("a", "other", 0), Held, false, Decision::Leave),
            (claim("a", "other", 1), Resumable, false, write(1, true)),
            (claim("a", "other", 1), Gone, false, write(2, true)),
        ];
        for (old, holder, has_certificate, expected) in cases {
            let decision = decide(old.as_ref(), "a", "me", holder, has_certificate);
            assert_eq!(decision, expected, "{old:?} {holder:?} {has_certificate}");
        }
    }
}
