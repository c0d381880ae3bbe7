//! Claims submissions, which only one of several watchers succeeds in, and detects lost claims.

use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::claim::{self, Claim};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::text;

use super::session::WatchSession;
use crate::bucket_job::ResultsFolder;
use crate::setup_log::SetupLog;
use crate::watchers::heartbeat::{HolderState, Watchers};

/// How often a claim is tried again because another watcher was faster.
const ATTEMPTS: u32 = 20;
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(50);

/// The outcome for a submit file.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Its records were emitted, now or before, by this watcher.
    Emitted,
    /// There is nothing to do: the submission has ended, or the file is gone.
    NothingToDo,
    /// It is unclaimed, but this watcher has as many jobs as `--at-most` allows.
    AtLimit,
    /// Another watcher has it.
    ClaimedElsewhere(String),
    /// It is still being written, or a submission with the same timestamp is being processed.
    NotReady,
    /// The claim was lost: process the file again.
    Reprocess,
}

/// Whether a job could be claimed.
pub(super) enum Claiming {
    Ours(Claim),
    /// The job's folder belongs to another submission.
    OtherSubmission(String),
    Not(Outcome),
}

#[derive(Debug)]
enum ClaimOutcome {
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

/// Decides about a claim. `holder` is the state of the watcher that has it, `has_certificate` whether the job's folder
/// has a certificate that these tools did not write.
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

/// Claims a job for this watcher. `superseded_number` is the number of the claim on it that this watcher has lost,
/// or 0.
async fn acquire(
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

/// Claims the job `id` of the submit file `key`, if it has not ended and no other watcher has it. Without `may_claim`,
/// only looks after a job that this watcher has claimed before.
pub(super) async fn claim_job(
    session: &WatchSession,
    key: &Key,
    id: &str,
    datasets: usize,
    results: &ResultsFolder,
    may_claim: bool,
    log: &mut SetupLog,
) -> Result<Claiming> {
    let group = key.group();
    if results.ended_at().await?.is_some() {
        return match claim::read(&session.bucket, group, id).await? {
            Some((claim, _)) if claim.submission != key.as_str() => Ok(Claiming::OtherSubmission(claim.submission)),
            _ => Ok(Claiming::Not(Outcome::NothingToDo)),
        };
    }
    if !may_claim && !session.claimed.borrow().contains_key(&(group.to_owned(), id.to_owned())) {
        return Ok(Claiming::Not(Outcome::AtLimit));
    }
    // Noted before it is claimed: of two tasks that process the same file at once, one continues.
    if let Some(other) = session.begin_claim(id, results, key) {
        return claimed_before(session, &other, key, id).await;
    }
    // Records of a claim that this watcher has lost stay superseded, even if the claim was deleted and numbers start
    // again.
    let lost = session.lease.borrow().as_ref().map_or(0, |lease| lease.superseded_number(group, id));
    let claimed = acquire(&session.bucket, id, key, results, &session.watchers, lost).await;
    let owner = session.watchers.owner();
    let claiming = match claimed {
        Ok(ClaimOutcome::Ours { claim, previous }) => {
            // After a takeover the submission may have ended since it was checked.
            if previous.is_some() && results.ended_at().await?.is_some() {
                Ok(Claiming::Not(Outcome::NothingToDo))
            } else {
                let after = previous.map(|previous| format!(" after `{previous}`")).unwrap_or_default();
                log.add(format!("claimed it as `{id}` for `{owner}`{after}"));
                session.renew_lease()?;
                session.update(group, id, |held| {
                    held.number = claim.number;
                    held.datasets = datasets.max(1);
                    held.open_datasets = held.datasets;
                });
                return Ok(Claiming::Ours(claim));
            }
        }
        Ok(ClaimOutcome::Elsewhere { watcher }) => Ok(Claiming::Not(Outcome::ClaimedElsewhere(watcher))),
        Ok(ClaimOutcome::OtherSubmission { submission }) => Ok(Claiming::OtherSubmission(submission)),
        Ok(ClaimOutcome::OnPlatform) => {
            let target = format!("{}/{group}", session.bucket.address());
            let retry = text::shell_line(["ncaas-submit", "retry", "--force", &target, id]);
            let message = format!("skipped `{id}`: it has a certificate but no claim, so the platform runs it");
            session.tool.note_with_hint(&message, &format!("`{retry}` runs it here"));
            Ok(Claiming::Not(Outcome::NothingToDo))
        }
        Err(failure) => Err(failure),
    };
    session.release(group, id);
    claiming
}

/// The outcome for a job that this watcher has claimed, or is claiming, for the submit file `other`.
async fn claimed_before(session: &WatchSession, other: &Key, key: &Key, id: &str) -> Result<Claiming> {
    let group = key.group();
    if other == key {
        if !is_claim_lost(session, group, id).await? {
            return Ok(Claiming::Not(Outcome::Emitted));
        }
        session.release(group, id);
        return Ok(Claiming::Not(Outcome::Reprocess));
    }
    Ok(match claim::read(&session.bucket, group, id).await? {
        Some((claim, _)) if claim.submission != key.as_str() => Claiming::OtherSubmission(claim.submission),
        // Another submission with the same timestamp is being processed: the claim shows later which one has it.
        _ => Claiming::Not(Outcome::NotReady),
    })
}

/// Whether a job whose records this watcher has emitted is no longer its own. Notes that for the other stages.
pub(crate) async fn is_claim_lost(session: &WatchSession, group: &str, id: &str) -> Result<bool> {
    let name = (group.to_owned(), id.to_owned());
    let Some(held) = session.claimed.borrow().get(&name).cloned().filter(|held| held.is_emitted) else {
        return Ok(false);
    };
    let claim = match claim::read(&session.bucket, group, id).await {
        // Nobody else can have written it.
        Err(failure) if session.bucket.is_about_one_object(&failure) && failure.kind.is_transient() => {
            return Ok(false);
        }
        // Somebody put something else in the place of its folder.
        Err(failure) if session.bucket.is_about_one_object(&failure) => None,
        claim => claim?.map(|(claim, _)| claim),
    };
    let is_lost = claim.as_ref().is_none_or(|claim| claim.watcher != session.watchers.id());
    if is_lost {
        session.note_superseded(&name, &held, claim.as_ref())?;
    }
    Ok(is_lost)
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
