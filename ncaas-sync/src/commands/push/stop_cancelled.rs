//! Stops the running jobs of cancelled submissions.
//!
//! `ncaas-logs save` emits the record of each running job. While jobs run, one request for each of their submissions
//! asks every two seconds, or less often with more than a hundred submissions, whether the submission is cancelled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::Buckets;
use ncaas_core::cancellation;
use ncaas_core::engine::{LazyEngine, STOP_GRACE_S};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Job};
use ncaas_core::tool::Tool;
use tokio::time::sleep;

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(2);
/// The time that a round takes for each submission, at least.
const TIME_FOR_SUBMISSION: Duration = Duration::from_millis(20);
/// Requests to the bucket, and jobs that are stopped, at once.
const AT_ONCE: usize = 16;

/// Bucket, group and job id of a submission.
pub(crate) type SubmissionName = (Option<String>, Option<String>, String);

#[derive(Debug, Clone)]
struct RunningJob {
    job: Job,
    container: Container,
    folder: JobFolder,
}

/// The running jobs, of which those of cancelled submissions are stopped.
pub(super) struct CancelledJobs {
    tool: Tool,
    engine: LazyEngine,
    /// By submission, and by the identity of the record.
    running: RefCell<BTreeMap<SubmissionName, BTreeMap<String, RunningJob>>>,
}

impl CancelledJobs {
    pub(super) fn new(tool: Tool) -> Self {
        CancelledJobs { tool, engine: LazyEngine::default(), running: RefCell::default() }
    }

    pub(super) fn add(&self, record: &Record, job: &Job, folder: &JobFolder) {
        let (Some(identity), Some(container)) = (record.identity(), record.container()) else { return };
        let running = RunningJob { job: job.clone(), container, folder: folder.clone() };
        self.running.borrow_mut().entry(submission_name(job)).or_default().insert(identity, running);
    }

    pub(super) fn remove(&self, record: &Record) {
        let (Some(identity), Some(job)) = (record.identity(), record.job()) else { return };
        let (mut running, submission) = (self.running.borrow_mut(), submission_name(&job));
        if let Some(jobs) = running.get_mut(&submission) {
            jobs.remove(&identity);
            if jobs.is_empty() {
                running.remove(&submission);
            }
        }
    }

    /// Stops running jobs of cancelled submissions. Their ends come with their next records.
    pub(super) async fn stop_cancelled<T>(&self, buckets: &Buckets) -> T {
        loop {
            let count = u32::try_from(self.running.borrow().len()).unwrap_or(u32::MAX);
            sleep(ROUND.max(TIME_FOR_SUBMISSION * count)).await;
            let jobs: Vec<Job> =
                self.running.borrow().values().filter_map(|jobs| Some(jobs.values().next()?.job.clone())).collect();
            let is_cancelled = async |job: &Job| {
                cancellation::is_cancelled(&buckets.open(job.bucket.as_deref()?).await.ok()?, job).await.ok()
            };
            let check = |job: Job| async move {
                // While the bucket does not answer, nothing is known.
                if is_cancelled(&job).await.unwrap_or_default() {
                    let running = self.running.borrow_mut().remove(&submission_name(&job)).unwrap_or_default();
                    let jobs = format_count(running.len(), "running job");
                    self.tool.note(&format!("`{}` is cancelled: stopping its {jobs}", job.id));
                    stream::iter(running)
                        .for_each_concurrent(AT_ONCE, |(identity, running)| self.stop(identity, running))
                        .await;
                }
            };
            stream::iter(jobs).for_each_concurrent(AT_ONCE, check).await;
        }
    }

    async fn stop(&self, identity: String, running: RunningJob) {
        let name = &running.container.name;
        let stop = async || -> Result<()> {
            running.folder.note_cancellation()?;
            self.engine.get().await?.stop(&running.container.id, STOP_GRACE_S).await
        };
        if let Err(failure) = stop().await
            && failure.kind != Kind::ContainerNotFound
        {
            self.tool.report_failure(&failure.context(format!("cannot stop `{name}`, whose submission is cancelled")));
            // The next round tries again.
            self.running.borrow_mut().entry(submission_name(&running.job)).or_default().insert(identity, running);
        }
    }
}

pub(super) fn submission_name(job: &Job) -> SubmissionName {
    (job.bucket.clone(), job.group.clone(), job.id.clone())
}
