//! The state of a running watch, shared by its parts.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use ncaas_core::bucket::{Bucket, Buckets, Key};
use ncaas_core::claim::Claim;
use ncaas_core::emission_order::EmissionOrder;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::lease::LeaseWriter;
use ncaas_core::text;
use ncaas_core::tool::Tool;

use super::outage::OutageReporter;
use super::submit_queue::{QueuedFile, SubmitQueue};
use crate::args::WatchArgs;
use crate::bucket_job::ResultsFolder;
use crate::watchers::heartbeat::{ALIVE, Watchers};

/// How many messages about single submissions are remembered and reported.
const MAX_REPORTED: usize = 1000;

/// A job by its group and id.
pub(crate) type JobName = (String, String);

/// A submission that this watcher has claimed, or is claiming.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedJob {
    /// The submit file.
    pub(crate) submission: Key,
    pub(crate) results: ResultsFolder,
    pub(crate) number: u64,
    pub(crate) is_emitted: bool,
    /// How many of its datasets have not ended.
    pub(crate) open_datasets: usize,
    pub(crate) datasets: usize,
    /// How often the record of a dataset was emitted again.
    pub(crate) retries: BTreeMap<u64, u32>,
}

pub(crate) struct WatchSession {
    pub(crate) tool: Tool,
    /// Whether the watch ends after the submissions that exist.
    is_once: bool,
    pub(crate) bucket: Bucket,
    /// That bucket, and those to which submissions send their results.
    pub(crate) buckets: Buckets,
    /// Other buckets that submissions may name.
    pub(crate) bypass: Vec<String>,
    /// How many jobs may be open at once.
    pub(crate) at_most: Option<usize>,
    /// How often a submission is run again after a loss.
    pub(crate) retries: u32,
    pub(crate) queue: SubmitQueue,
    pub(crate) watchers: Watchers,
    pub(crate) outage: OutageReporter,
    /// The lease on this machine, as soon as there was a claim.
    pub(crate) lease: RefCell<Option<LeaseWriter>>,
    /// The submissions that this watcher has claimed and that have not ended.
    pub(crate) claimed: RefCell<BTreeMap<JobName, ClaimedJob>>,
    /// Messages about single submissions that were reported.
    reported: RefCell<HashSet<String>>,
    /// The submissions that other watchers have claimed, by watcher.
    pub(crate) elsewhere: RefCell<HashMap<String, Vec<QueuedFile>>>,
    /// The order in which submissions are emitted.
    pub(crate) order: EmissionOrder,
}

impl WatchSession {
    pub(crate) fn new(tool: Tool, bucket: Bucket, args: &WatchArgs) -> Self {
        WatchSession {
            tool,
            is_once: args.once,
            bypass: args.allow_bypass.clone(),
            at_most: args.at_most.map(usize::from),
            retries: args.retries,
            queue: SubmitQueue::new(),
            watchers: Watchers::new(&bucket),
            buckets: Buckets::with(&bucket),
            outage: OutageReporter::new(tool, "the bucket"),
            lease: RefCell::default(),
            claimed: RefCell::default(),
            reported: RefCell::default(),
            elsewhere: RefCell::default(),
            order: EmissionOrder::default(),
            bucket,
        }
    }

    /// Notes that this watcher begins to claim a job. If it has or claims the job already, nothing changes, and the
    /// submit file of that job is returned.
    pub(crate) fn begin_claim(&self, id: &str, results: &ResultsFolder, submission: &Key) -> Option<Key> {
        let name = (submission.group().to_owned(), id.to_owned());
        let mut claimed = self.claimed.borrow_mut();
        if let Some(other) = claimed.get(&name) {
            return Some(other.submission.clone());
        }
        let job = ClaimedJob {
            submission: submission.clone(),
            results: results.clone(),
            number: 0,
            is_emitted: false,
            open_datasets: 1,
            datasets: 1,
            retries: BTreeMap::new(),
        };
        claimed.insert(name, job);
        None
    }

    /// Changes what is known about a claimed job.
    pub(crate) fn update(&self, group: &str, id: &str, change: impl FnOnce(&mut ClaimedJob)) {
        if let Some(job) = self.claimed.borrow_mut().get_mut(&(group.to_owned(), id.to_owned())) {
            change(job);
        }
    }

    /// Forgets about a job: it has ended, or is no longer this watcher's.
    pub(crate) fn release(&self, group: &str, id: &str) {
        self.claimed.borrow_mut().remove(&(group.to_owned(), id.to_owned()));
        self.queue.wake();
    }

    /// Forgets about a job if it has ended, in the lease too. Returns whether it has.
    pub(crate) async fn release_if_ended(&self, (group, id): &JobName, job: &ClaimedJob) -> Result<bool> {
        let has_ended = job.results.ended_at().await?.is_some();
        if has_ended {
            if let Some(lease) = self.lease.borrow_mut().as_mut() {
                lease.forget(group, id);
            }
            self.release(group, id);
        }
        Ok(has_ended)
    }

    /// Reports a failure that concerns one submission, once.
    pub(crate) fn report_submission(&self, submission: &Key, failure: Failure) {
        let failure = failure.context(format!("`{}`", text::one_line(submission.as_str())));
        let mut reported = self.reported.borrow_mut();
        if reported.len() < MAX_REPORTED && reported.insert(failure.message.clone()) {
            self.tool.report_failure(&failure);
        }
    }

    /// Notes that another watcher, or a new attempt, has replaced the claim on a job: the work under it no longer
    /// counts.
    pub(crate) fn note_superseded(&self, name: &JobName, job: &ClaimedJob, by: Option<&Claim>) -> Result<()> {
        let elsewhere = by.is_some_and(|claim| !claim.is_free() && claim.host != self.watchers.host());
        let (group, id) = name;
        match self.lease.borrow_mut().as_mut() {
            Some(lease) => lease.note_superseded(group, id, job.number, elsewhere),
            None => Ok(()),
        }
    }

    /// Confirms to the other stages on this machine that the claims are held.
    pub(crate) fn renew_lease(&self) -> Result<()> {
        let mut lease = self.lease.borrow_mut();
        match lease.as_mut() {
            Some(lease) => lease.renew(ALIVE),
            None => {
                let mut created = LeaseWriter::create(self.watchers.id(), !self.is_once)?;
                created.renew(ALIVE)?;
                *lease = Some(created);
                Ok(())
            }
        }
    }

    /// Whether the claims were not confirmed in time.
    pub(crate) fn is_lease_expired(&self) -> bool {
        self.lease.borrow().as_ref().is_some_and(LeaseWriter::has_expired)
    }

    /// Whether another submission can be claimed.
    pub(crate) fn has_room(&self) -> bool {
        let open = || self.claimed.borrow().values().map(|job| job.open_datasets).sum::<usize>();
        self.at_most.is_none_or(|at_most| open() < at_most)
    }
}
