//! Maintenance of claims: renew those of this watcher, release ended submissions, and take over those of dead watchers.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::failure::Result;
use ncaas_core::lease::LeaseWriter;
use tokio::time::sleep;

use super::claims::is_claim_lost;
use super::session::{ClaimedJob, JobName, WatchSession};
use super::submit_queue::{QueuedFile, backoff};

/// How often the heartbeat and other watchers are looked after.
const ROUND: Duration = Duration::from_secs(1);

/// Rounds between two checks of the claimed submissions, if their number is not limited.
const ROUNDS_TO_CHECK: usize = 8;

/// How many are checked at once: the cost does not grow with their number.
const CHECKED_AT_ONCE: usize = 40;

/// Rounds between two removals of stale objects from the bucket.
const ROUNDS_TO_CLEAN: usize = 600;

/// Maintains the claims as long as the watch runs.
pub(crate) async fn maintain(session: &WatchSession) {
    let mut position = 0;
    for round in 0.. {
        if let Err(failure) = run_round(session, round, &mut position).await {
            session.outage.report(&failure);
        }
        sleep(ROUND).await;
    }
}

async fn run_round(session: &WatchSession, round: usize, position: &mut usize) -> Result<()> {
    if session.is_lease_expired() {
        // This machine was suspended, or the bucket was unreachable: other watchers may have taken claims over.
        confirm_claims(session).await?;
    }
    if !session.claimed.borrow().is_empty() {
        session.watchers.renew().await?;
        session.renew_lease()?;
    }
    take_retry_requests(session);
    take_over(session).await?;
    let is_full_check = round.is_multiple_of(ROUNDS_TO_CHECK);
    if session.at_most.is_some() || is_full_check {
        check_claimed(session, position, is_full_check).await?;
    }
    if round.is_multiple_of(ROUNDS_TO_CLEAN) {
        session.watchers.remove_stale().await?;
    }
    Ok(())
}

/// Lets go of every submission that is no longer this watcher's.
async fn confirm_claims(session: &WatchSession) -> Result<()> {
    let claimed: BTreeMap<JobName, ClaimedJob> = session.claimed.borrow().clone();
    for ((group, id), held) in claimed {
        if is_claim_lost(session, &group, &id).await? {
            session.tool.note(&format!("`{id}` was taken over by another watcher while this one did not run"));
            session.release(&group, &id);
            session.queue.push(QueuedFile::new(held.submission, "taken over by another watcher"));
        }
    }
    Ok(())
}

/// Schedules the records that later stages have asked for once more.
fn take_retry_requests(session: &WatchSession) {
    let requests = session.lease.borrow().as_ref().map(LeaseWriter::take_retry_requests).unwrap_or_default();
    for request in requests {
        let mut found = None;
        session.update(&request.group, &request.id, |held| {
            let tried = held.retries.entry(request.dataset).or_default();
            *tried += 1;
            let due = Timestamp::now().saturating_add(backoff(*tried)).unwrap_or_default();
            found = Some(QueuedFile {
                noticed: due,
                ..QueuedFile::new(held.submission.clone(), "retried after a failure")
            });
        });
        if let Some(found) = found {
            session.queue.push(QueuedFile { retry: Some(request), ..found });
        }
    }
}

/// Lets go of submissions that have ended. A full check also queues those again that were given back: their claim is
/// gone, or another attempt has begun.
async fn check_claimed(session: &WatchSession, position: &mut usize, is_full_check: bool) -> Result<()> {
    let checked: Vec<(JobName, ClaimedJob)> = {
        let claimed = session.claimed.borrow();
        *position = if *position >= claimed.len() { 0 } else { *position };
        let round = claimed.iter().skip(*position).take(CHECKED_AT_ONCE).filter(|(_, held)| held.is_emitted);
        round.map(|(name, held)| (name.clone(), held.clone())).collect()
    };
    *position += CHECKED_AT_ONCE;
    for (name, held) in checked {
        let has_ended = match session.release_if_ended(&name, &held).await {
            Err(failure) if session.bucket.is_about_one_object(&failure) => {
                session.report_submission(&held.submission, failure);
                continue;
            }
            has_ended => has_ended?,
        };
        let (group, id) = name;
        if has_ended {
            continue;
        }
        if is_full_check && is_claim_lost(session, &group, &id).await? {
            session.release(&group, &id);
            session.queue.push(QueuedFile::new(held.submission, "given back"));
        } else if session.at_most.is_some() && held.datasets > 1 {
            let ended = held.results.saved_record_keys().await?.len();
            session.update(&group, &id, |held| held.open_datasets = held.datasets.saturating_sub(ended));
            session.queue.wake();
        }
    }
    Ok(())
}

/// Queues the submissions of watchers that have died or stopped.
async fn take_over(session: &WatchSession) -> Result<()> {
    let watchers: Vec<String> = session.elsewhere.borrow().keys().cloned().collect();
    for watcher in watchers {
        if session.watchers.state(&watcher).await?.is_over() {
            let left = session.elsewhere.borrow_mut().remove(&watcher).unwrap_or_default();
            for found in left {
                session.queue.push(QueuedFile { how: "left by another watcher", noticed: Timestamp::now(), ..found });
            }
        }
    }
    Ok(())
}
