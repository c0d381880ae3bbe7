//! The scheduler's queue, listed once per poll for all records together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ncaas_core::failure::{Failure, Result};
use ncaas_core::tool::Tool;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::scheduled_job::ScheduledJob;
use super::scheduler::Scheduler;

/// The shortest time between two listings.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The scheduler's queue at one moment.
#[derive(Debug, Clone)]
pub(super) struct QueueSnapshot {
    /// When the queue was queried.
    asked_at: Instant,
    /// The newest job of each name.
    jobs: Arc<HashMap<String, ScheduledJob>>,
}

impl QueueSnapshot {
    /// The newest job of that name.
    pub(super) fn find(&self, name: &str) -> Option<&ScheduledJob> {
        self.jobs.get(name)
    }
}

/// Lists the queue for all records of a run.
pub(super) struct QueuePoller {
    tool: Tool,
    poll: Duration,
    newest: watch::Sender<Option<Result<QueueSnapshot, Failure>>>,
    /// How many records wait for a listing.
    waiting: AtomicUsize,
    wanted: Notify,
    /// A record that is not submitted yet waits for a listing.
    urgent: Notify,
    has_answered: AtomicBool,
    /// The user has been told that the scheduler is unreachable.
    outage_noted: AtomicBool,
}

impl QueuePoller {
    pub(super) fn new(tool: Tool, poll: Duration) -> Self {
        QueuePoller {
            tool,
            poll,
            newest: watch::Sender::new(None),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            urgent: Notify::new(),
            has_answered: AtomicBool::new(false),
            outage_noted: AtomicBool::new(false),
        }
    }

    /// Lists the queue every `poll`, as long as records wait for a listing. Never ends.
    pub(super) async fn keep_listing(&self, scheduler: &Scheduler) {
        loop {
            while self.waiting.load(Ordering::Acquire) == 0 {
                self.wanted.notified().await;
            }
            let asked_at = Instant::now();
            let listed = scheduler
                .list()
                .await
                .map(|entries| QueueSnapshot { asked_at, jobs: Arc::new(newest_by_name(entries)) });
            self.note_outage(listed.as_ref().err());
            self.newest.send_replace(Some(listed));
            let shortest = async {
                sleep(self.poll.min(SHORTEST_PAUSE)).await;
                self.urgent.notified().await;
            };
            tokio::select! {
                () = sleep(self.poll) => {}
                () = shortest => {}
            }
        }
    }

    /// The queue as it is now, for a record that may have to be submitted. It does not wait as long as `poll`.
    ///
    /// # Errors
    /// When the scheduler has never answered.
    pub(super) async fn now(&self) -> Result<QueueSnapshot> {
        self.urgent.notify_one();
        self.newer_than(Instant::now()).await
    }

    /// The first listing that was asked for after `since`. An outage of the scheduler is waited for.
    ///
    /// # Errors
    /// When the scheduler has never answered.
    pub(super) async fn newer_than(&self, since: Instant) -> Result<QueueSnapshot> {
        let mut newest = self.newest.subscribe();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.wanted.notify_one();
        let found = loop {
            let found = match &*newest.borrow_and_update() {
                Some(Ok(listing)) if listing.asked_at > since => Some(Ok(listing.clone())),
                Some(Err(failure)) if !self.has_answered.load(Ordering::Acquire) => Some(Err(failure.clone())),
                _ => None,
            };
            if let Some(found) = found {
                break found;
            }
            if newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        found
    }
}

impl QueuePoller {
    /// Prints once that the scheduler is unreachable, and once that it answers again.
    fn note_outage(&self, failure: Option<&Failure>) {
        match failure {
            None => {
                self.has_answered.store(true, Ordering::Release);
                if self.outage_noted.swap(false, Ordering::AcqRel) {
                    self.tool.note("the scheduler answers again");
                }
            }
            Some(failure) if self.has_answered.load(Ordering::Acquire) => {
                if !self.outage_noted.swap(true, Ordering::AcqRel) {
                    self.tool.note(&format!("{failure}; waiting until the scheduler answers"));
                }
            }
            Some(_) => {}
        }
    }
}

/// The newest of the jobs with the same name. An older one has ended, or belongs to another `place` and runs after it.
fn newest_by_name(entries: Vec<ScheduledJob>) -> HashMap<String, ScheduledJob> {
    // Slurm numbers its jobs; the ids of AWS Batch say nothing.
    let age = |entry: &ScheduledJob| (entry.id.parse::<u64>().unwrap_or(0), entry.submitted_at.clone());
    let mut newest: HashMap<String, ScheduledJob> = HashMap::with_capacity(entries.len());
    for entry in entries {
        match newest.get(&entry.name) {
            Some(known) if age(known) > age(&entry) => {}
            _ => {
                newest.insert(entry.name.clone(), entry);
            }
        }
    }
    newest
}
