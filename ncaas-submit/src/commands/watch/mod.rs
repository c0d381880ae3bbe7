//! `ncaas-submit watch`: emit the records of each unfinished submission once, from one of several watchers.
//!
//! Submit files are found by listing and by [`notifications`], and wait in a [`submit_queue`]. Each is read, claimed,
//! validated, and its records are emitted ([`emission`]). [`maintenance`] renews this watcher's claims, takes over
//! those of dead watchers, and releases submissions that have ended. [`session`] is the state that they share.

mod claims;
mod emission;
mod inotify;
mod maintenance;
mod notifications;
mod outage;
mod session;
mod submit_queue;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use ncaas_core::bucket::Bucket;
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::group::{check_groups, open_bucket};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::text::shell_line;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::{Instant, sleep};

use crate::args::WatchArgs;
use crate::sqs::{self, SqsQueue};
use crate::submit_files::SubmitFileLister;
use crate::watchers::heartbeat::{HolderState, READ_INTERVAL, probe_key};
use claims::Outcome;
use maintenance::maintain;
use notifications::Notifications;
use session::WatchSession;
use submit_queue::{EXISTED, QueuedFile, backoff};

/// How many submit files are processed at once.
const AT_ONCE: usize = 32;

/// How many of them may belong to one group.
const AT_ONCE_OF_GROUP: usize = 16;

/// How many may wait for another try. While there are more, the bucket does not answer, and no other file is read.
const MAX_WAITING: usize = 1000;

/// How often a submission is tried again that this user may not read.
const MAX_FAILURES: u32 = 5;

/// How long to wait for a file that is still being written.
const WRITING_PAUSE: Duration = Duration::from_millis(500);

/// How long `--once` waits for it in all.
const WRITING_LIMIT: Duration = Duration::from_secs(5);

/// How long the start waits until all submissions are known, so that the oldest is claimed first.
const ORDERING_LIMIT: Duration = Duration::from_secs(5);

/// How long a watcher that stops may take to release or hold its claims.
const STOP_LIMIT: Duration = Duration::from_millis(500);

/// How long a watcher that stops may look for submissions that have ended.
const CHECK_LIMIT: Duration = Duration::from_millis(200);

/// How long a watcher that stops keeps its claims, if `--hold` is not given.
const HOLD: Duration = Duration::from_secs(300);
const HOLD_ONCE: Duration = Duration::from_secs(3600);

/// How many jobs a message names.
const NAMED: usize = 5;

pub(crate) async fn watch(tool: Tool, args: WatchArgs) -> Result<ExitStatus> {
    let bucket = open_bucket(&args.bucket).await?;
    check_groups(&bucket, &args.group, true).await?;
    let sqs = open_sqs(&args, &bucket, tool).await?;
    let mut lister = SubmitFileLister::new(tool, &bucket, &args.group);
    let session = WatchSession::new(tool, bucket, &args);
    warn_about_conditional_writes(&session).await?;
    let mut is_done = false;
    let status = Pipe::for_records(tool, &args.records)
        .source(async |output: &Output| {
            if args.once {
                emit_existing(&session, &mut lister, output).await?;
                is_done = true;
                return Ok(());
            }
            let poll = args.poll.max(Duration::from_millis(10));
            let notifications = Notifications::open(tool, &session.bucket, poll, sqs);
            let has_listed_all = Cell::default();
            tokio::join!(
                list_submit_files(&session, &mut lister, &notifications, &has_listed_all),
                notifications.listen(&session.queue),
                process_queue(&session, &has_listed_all, output),
                maintain(&session),
            );
            Ok(())
        })
        .await;
    // Nobody runs records on a terminal.
    let default_hold = match (io::stdout().is_terminal(), args.once) {
        (true, _) => Duration::ZERO,
        (false, true) => HOLD_ONCE,
        (false, false) => HOLD,
    };
    let hold = args.hold.unwrap_or(default_hold);
    let stopping = stop(&session, hold, args.once);
    if is_done {
        stopping.await?;
    } else if let Ok(Err(failure)) = tokio::time::timeout(STOP_LIMIT, stopping).await {
        // Without it, other watchers take the claims over when the heartbeat stays unchanged.
        tool.report_failure(&failure);
    }
    status
}

/// Holds the claims on unfinished submissions for a time, or leaves if there are none.
async fn stop(session: &WatchSession, hold: Duration, is_once: bool) -> Result<()> {
    // The end of a submission may not have been noticed yet.
    let claimed = session.claimed.borrow().clone();
    let checks = claimed.into_iter().map(|(name, held)| async move { session.release_if_ended(&name, &held).await });
    let checking = stream::iter(checks).buffer_unordered(AT_ONCE).for_each(async |_| ());
    // A submission that is not checked in time counts as unfinished.
    let _ = tokio::time::timeout(CHECK_LIMIT, checking).await;
    let jobs: Vec<String> = session.claimed.borrow().keys().map(|(_, id)| id.clone()).collect();
    match session.lease.take() {
        Some(mut lease) if !jobs.is_empty() && !is_once => lease.renew(hold)?,
        // The records of `--once` are worked on after its end, for as long as it takes.
        Some(lease) => lease.remove(),
        None => {}
    }
    if jobs.is_empty() {
        return session.watchers.leave().await;
    }
    // In a pipe, other stages may still run its jobs.
    let is_alone = hold.is_zero() && io::stdout().is_terminal();
    if is_alone {
        let watcher = session.watchers.id();
        let claimed: Vec<_> = session.claimed.borrow().keys().cloned().collect();
        let releases = claimed
            .iter()
            .map(|(group, id)| claim::release(&session.bucket, group, id, |claim| claim.watcher == watcher));
        // A claim that is not released in time is taken over as soon as the heartbeat is missing.
        let releasing = stream::iter(releases).buffer_unordered(AT_ONCE).for_each(async |_| ());
        let _ = tokio::time::timeout(CHECK_LIMIT, releasing).await;
    }
    session.watchers.stop(hold, !is_once).await?;
    if is_alone {
        let claims = format_count(jobs.len(), "claimed submission");
        session.tool.note(&format!(
            "released {claims}: no later stage runs the jobs; use `watch` as the first stage of a pipe"
        ));
    }
    if !is_once && !hold.is_zero() {
        let named = jobs.iter().take(NAMED).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let more = jobs.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        session.tool.note(&format!(
            "the claim on {named}{more} is kept for {} s; a watcher that starts on this host takes it over immediately",
            hold.as_secs()
        ));
    }
    Ok(())
}

/// Warns where claims cannot be relied on.
async fn warn_about_conditional_writes(session: &WatchSession) -> Result<()> {
    if session.bucket.honours_conditional_writes(&probe_key()?).await? {
        return Ok(());
    }
    let message = format!("`{}` accepts conditional writes, but ignores their conditions", session.bucket.address());
    let hint = "run only one watcher on it: two could emit the same submission";
    session.tool.report_failure(&Failure::new(Kind::BucketError, message).hint(hint));
    Ok(())
}

/// `--once`: emits all unfinished submissions. A failure of the bucket ends it, one of a single submission does not.
async fn emit_existing(session: &WatchSession, lister: &mut SubmitFileLister, output: &Output) -> Result<()> {
    lister.find_groups().await?;
    lister.list_all(|entry| session.queue.push_listed(entry, EXISTED)).await?;
    process_existing(session, output).await?;
    // Another watcher is judged by whether its heartbeat changes: that takes up to half a minute.
    while let Some(watcher) = find_unconfirmed(session).await? {
        session.tool.note(&format!("waiting for a heartbeat of the watcher `{watcher}`"));
        while session.watchers.state(&watcher).await? == HolderState::Unconfirmed {
            sleep(READ_INTERVAL).await;
        }
        if session.watchers.state(&watcher).await?.is_over() {
            let left = session.elsewhere.borrow_mut().remove(&watcher).unwrap_or_default();
            left.into_iter().for_each(|found| session.queue.push(found));
            process_existing(session, output).await?;
        }
    }
    let elsewhere: usize = session.elsewhere.borrow().values().map(Vec::len).sum();
    if elsewhere > 0 {
        let list = shell_line(["ncaas-submit", "ls", session.bucket.address()]);
        session.tool.note_with_hint(
            &format!(
                "skipped {}: other watchers hold claims on them that have not expired",
                format_count(elsewhere, "submission")
            ),
            &format!("`{list}` shows their owners; `ncaas-submit retry --force BUCKET/GROUP JOB` takes one over"),
        );
    } else if session.claimed.borrow().is_empty() && io::stderr().is_terminal() {
        session.tool.note("no submission is waiting");
    }
    Ok(())
}

async fn find_unconfirmed(session: &WatchSession) -> Result<Option<String>> {
    let watchers: Vec<String> = session.elsewhere.borrow().keys().cloned().collect();
    for watcher in watchers {
        if session.watchers.state(&watcher).await? == HolderState::Unconfirmed {
            return Ok(Some(watcher));
        }
    }
    Ok(None)
}

/// Processes the queue until it is empty.
async fn process_existing(session: &WatchSession, output: &Output) -> Result<()> {
    let mut in_progress = FuturesUnordered::new();
    loop {
        while in_progress.len() < AT_ONCE
            && session.has_room()
            && let Some(found) = session.queue.pop(|_| true)
        {
            in_progress.push(process_until_written(session, found, output));
        }
        let Some(outcome) = in_progress.next().await else { return Ok(()) };
        outcome?;
    }
}

/// Processes a submit file, and waits a little if it is still being written. After that it is left to the next watch.
async fn process_until_written(session: &WatchSession, found: QueuedFile, output: &Output) -> Result<()> {
    let began = Instant::now();
    loop {
        let outcome = match emission::process(session, &found, true, output).await {
            Err(failure) if session.bucket.is_about_one_object(&failure) => {
                output.note_failure(&failure);
                session.report_submission(&found.key, failure);
                return Ok(());
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::NotReady if began.elapsed() < WRITING_LIMIT => sleep(WRITING_PAUSE).await,
            Outcome::Reprocess => {}
            Outcome::ClaimedElsewhere(watcher) => {
                session.elsewhere.borrow_mut().entry(watcher).or_default().push(found);
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
}

/// Lists the bucket again and again. While the bucket does not answer, it is asked less and less often.
async fn list_submit_files(
    session: &WatchSession,
    lister: &mut SubmitFileLister,
    notifications: &Notifications,
    has_listed_all: &Cell<bool>,
) {
    let mut failures = 0;
    loop {
        match list_once(session, lister, notifications, has_listed_all.get()).await {
            Ok(()) => {
                session.outage.end();
                failures = 0;
                has_listed_all.set(true);
                session.queue.wake();
                notifications.wait_for_listing().await;
            }
            Err(failure) => {
                session.outage.report(&failure);
                failures += 1;
                sleep(backoff(failures)).await;
            }
        }
    }
}

async fn list_once(
    session: &WatchSession,
    lister: &mut SubmitFileLister,
    notifications: &Notifications,
    has_listed_all: bool,
) -> Result<()> {
    lister.find_groups().await?;
    notifications.watch_groups(lister);
    if has_listed_all {
        lister.list_round(|entry| session.queue.push_listed(entry, "found by listing")).await
    } else {
        lister.list_all(|entry| session.queue.push_listed(entry, EXISTED)).await
    }
}

/// Processes submit files, several at once. A file that has to wait, because it is still being written or the bucket
/// does not answer, does not delay the others.
async fn process_queue(session: &WatchSession, has_listed_all: &Cell<bool>, output: &Output) {
    let mut in_progress = FuturesUnordered::new();
    let mut waiting = FuturesUnordered::new();
    let mut of_groups: HashMap<String, usize> = HashMap::new();
    let mut claiming = 0;
    let mut is_ordered = false;
    let began = Instant::now();
    loop {
        while in_progress.len() < AT_ONCE && waiting.len() < MAX_WAITING {
            let is_allowed = |group: &str| of_groups.get(group).is_none_or(|count| *count < AT_ONCE_OF_GROUP);
            // The oldest is claimed first as soon as all that existed at the start were read.
            let is_sorted = has_listed_all.get() && session.queue.is_empty() && in_progress.is_empty();
            is_ordered = is_ordered || is_sorted || began.elapsed() > ORDERING_LIMIT;
            let has_room = session.has_room() && (session.at_most.is_none() || claiming == 0);
            let ready = if is_ordered && has_room { session.queue.pop_ready(is_allowed) } else { None };
            let may_claim = ready.is_some() || is_ordered && has_room && session.queue.has_none_ready();
            let Some(found) = ready.or_else(|| session.queue.pop(is_allowed)) else { break };
            *of_groups.entry(found.key.group().to_owned()).or_default() += 1;
            claiming += usize::from(may_claim);
            in_progress.push(async move {
                let group = found.key.group().to_owned();
                (group, may_claim, process_found(session, found, may_claim, output).await)
            });
        }
        tokio::select! {
            Some((group, was_claiming, put_off)) = in_progress.next(), if !in_progress.is_empty() => {
                claiming -= usize::from(was_claiming);
                of_groups.entry(group).and_modify(|count| *count -= 1);
                if let Some((found, pause)) = put_off {
                    waiting.push(async move { sleep(pause).await; found });
                }
            }
            Some(found) = waiting.next(), if !waiting.is_empty() => session.queue.push(found),
            () = session.queue.wait_for_arrival(), if in_progress.len() < AT_ONCE => {}
        }
    }
}

/// Processes a submit file. One that has to wait is returned with the time to wait.
async fn process_found(
    session: &WatchSession,
    mut found: QueuedFile,
    may_claim: bool,
    output: &Output,
) -> Option<(QueuedFile, Duration)> {
    let outcome = if found.retry.is_some() {
        let due_in = Duration::try_from(found.noticed.duration_since(Timestamp::now())).unwrap_or_default();
        if !due_in.is_zero() {
            return Some((found, due_in));
        }
        emission::emit_again(session, &found, output).await
    } else {
        emission::process(session, &found, may_claim, output).await
    };
    match outcome {
        Ok(Outcome::NotReady) => Some((found, WRITING_PAUSE)),
        Ok(Outcome::Reprocess) => Some((found, Duration::ZERO)),
        Ok(Outcome::AtLimit) => {
            session.queue.push_ready(found);
            None
        }
        Ok(Outcome::ClaimedElsewhere(watcher)) => {
            session.elsewhere.borrow_mut().entry(watcher).or_default().push(found);
            None
        }
        Ok(Outcome::Emitted | Outcome::NothingToDo) => None,
        Err(failure) if session.bucket.is_about_one_object(&failure) => {
            let is_over = !failure.kind.is_transient() || found.failures >= MAX_FAILURES;
            session.report_submission(&found.key, failure);
            found.failures += 1;
            let pause = backoff(found.failures);
            (!is_over).then_some((found, pause))
        }
        Err(failure) => {
            session.outage.report(&failure);
            found.failures += 1;
            let pause = backoff(found.failures);
            Some((found, pause))
        }
    }
}

/// Opens the SQS queue, where one is asked for.
async fn open_sqs(args: &WatchArgs, bucket: &Bucket, tool: Tool) -> Result<Option<SqsQueue>> {
    let url = match &args.queue {
        Some(url) => url.clone(),
        None if args.notify => sqs::create_queue(bucket).await?,
        None => return Ok(None),
    };
    if args.notify {
        tool.note(&format!("`{}` notifies the queue `{url}` of new submissions", bucket.address()));
    }
    SqsQueue::open(&url, bucket.name(), &args.group).await.map(Some)
}
