//! One record from its submission to its end.

use std::time::{Duration, Instant};

use ncaas_core::bucket::Buckets;
use ncaas_core::config;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Output;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Placement, RecordFields, RunSettings};
use ncaas_core::tool::Tool;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::next_step::{MISSING_LIMIT, NextStep, PlacementState, next_step};
use super::node_script::NodeOptions;
use super::queue::QueuePoller;
use super::request::JobRequest;
use super::scheduled_job::ScheduledJob;
use super::scheduler::Scheduler;
use crate::bucket_job::{BucketJob, MACHINE_FIELDS};

/// The longest pause between attempts to submit while the scheduler does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Listings between two requests for the saved record of a running job.
const LISTINGS_TO_LOOK_UP: u32 = 12;

/// The placer of a run of `ncaas-submit place`.
pub(crate) struct Placer {
    pub(crate) tool: Tool,
    pub(crate) node: NodeOptions,
    pub(crate) flags: RunSettings,
    pub(crate) scheduler: Scheduler,
    pub(crate) retries: u64,
    poll: Duration,
    queue: QueuePoller,
    buckets: Buckets,
    settings_checked: OnceCell<()>,
}

/// A record's job at the scheduler.
struct PlacedJob {
    placement: Placement,
    /// How many times the record has been submitted.
    submissions: u64,
    /// In how many successive listings it has been missing.
    missing: u32,
    /// How many listings were looked at.
    listings: u32,
    /// Listings asked for before this moment say nothing about the job.
    since: Instant,
}

impl Placer {
    pub(crate) fn new(
        tool: Tool,
        node: NodeOptions,
        flags: RunSettings,
        scheduler: Scheduler,
        retries: u64,
        poll: Duration,
    ) -> Self {
        Placer {
            tool,
            node,
            flags,
            scheduler,
            retries,
            poll,
            queue: QueuePoller::new(tool, poll),
            buckets: Buckets::default(),
            settings_checked: OnceCell::new(),
        }
    }

    /// Lists the scheduler's queue for all records of the run. Never ends.
    pub(crate) async fn keep_listing(&self) {
        self.queue.keep_listing(&self.scheduler).await;
    }

    /// Places a record and follows its job until its end. Each change goes out as a record.
    ///
    /// # Errors
    /// [`Kind::SchedulerUnreachable`], [`Kind::SchedulerRefused`], [`Kind::PlacementLost`], [`Kind::Cancelled`]; a
    /// failure of the bucket.
    pub(crate) async fn place(&self, record: &mut Record, output: &Output) -> Result<()> {
        let job = BucketJob::for_record(record, &self.buckets).await?;
        if let Some(saved) = saved_record(&job, record).await? {
            finish(record, &saved, None);
            return Ok(());
        }
        let request = JobRequest::new(record, &self.flags, self.config_timeout_s(&job, record).await?)?;
        let outcome = self.follow(record, &request, &job, output).await;
        self.scheduler.forget(&request.name, record).await;
        outcome
    }

    /// Submits a record's job unless it is in the queue, and follows it until its end.
    async fn follow(&self, record: &mut Record, request: &JobRequest, job: &BucketJob, output: &Output) -> Result<()> {
        self.scheduler.look_up(&request.name).await?;
        let queue = self.queue.now().await?;
        // A job of that name that has ended is not taken for the record's: its saved record would be there.
        let attached = queue.find(&request.name).filter(|entry| entry.is_active());
        let mut placed = match attached {
            Some(entry) => PlacedJob {
                placement: self.placement(request, entry, 0),
                submissions: entry.submissions,
                missing: 0,
                listings: 0,
                since: Instant::now(),
            },
            None => self.submit(request, record, 1).await?,
        };
        self.emit(record, output, &placed.placement).await;
        loop {
            let queue = self.queue.newer_than(placed.since).await?;
            placed.since = Instant::now();
            let mut entry = queue.find(&request.name).cloned();
            placed.missing = if entry.is_some() { 0 } else { placed.missing + 1 };
            if placed.missing >= MISSING_LIMIT {
                entry = self.scheduler.ended_job(placed.placement.id.as_deref().unwrap_or_default()).await;
            }
            if let Some(entry) = &entry {
                let mut now = self.placement(request, entry, placed.submissions - 1);
                // Accounts do not say how often a job was started.
                now.restarts = now.restarts.max(placed.placement.restarts);
                if now != placed.placement {
                    placed.placement = now;
                    self.emit(record, output, &placed.placement).await;
                }
            }
            // After an outage, the scheduler can report an ended job as running.
            placed.listings += 1;
            let is_due = placed.listings.is_multiple_of(LISTINGS_TO_LOOK_UP) && placed.placement.node.is_some();
            let saved = if is_due || !entry.as_ref().is_some_and(ScheduledJob::is_active) {
                saved_record(job, record).await?
            } else {
                None
            };
            let facts = PlacementState {
                entry: entry.as_ref(),
                missing: placed.missing,
                submissions: placed.submissions,
                retries: self.retries,
            };
            match next_step(facts, saved) {
                NextStep::Wait => {}
                NextStep::Finish(saved) => {
                    finish(record, &saved, Some(&placed.placement));
                    return Ok(());
                }
                NextStep::Cancelled => {
                    let message = format!("{} was cancelled before it reported a result", job_name(&placed.placement));
                    return Err(Failure::new(Kind::Cancelled, message));
                }
                NextStep::SubmitAgain(how) => {
                    let lost = job_name(&placed.placement);
                    self.tool.note(&format!("{lost} ended without a result ({how}): submitting it again"));
                    placed = self.submit(request, record, placed.submissions + 1).await?;
                    self.emit(record, output, &placed.placement).await;
                }
                NextStep::OutOfRetries(how) => {
                    let lost = job_name(&placed.placement);
                    let submissions = format_count(placed.submissions, "submission");
                    let message = format!("{lost} ended without a result ({how}), after {submissions}");
                    return Err(Failure::new(Kind::PlacementLost, message).hint(self.scheduler.output_hint()));
                }
            }
        }
    }

    /// Submits the record's job. It tries again while a scheduler that has answered before is unreachable.
    async fn submit(&self, request: &JobRequest, record: &Record, submissions: u64) -> Result<PlacedJob> {
        self.settings_checked
            .get_or_init(async || {
                for (warning, hint) in self.scheduler.check_settings(request, self.poll).await {
                    self.tool.note_with_hint(&warning, hint);
                }
            })
            .await;
        let mut record = record.clone();
        record.remove("placement");
        let mut pause = Duration::from_secs(1);
        let id = loop {
            match self.scheduler.submit(request, &record, &self.node, submissions).await {
                Ok(id) => break id,
                Err(failure) if failure.kind == Kind::SchedulerUnreachable => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // The job may have been accepted although the answer was lost.
                    self.scheduler.look_up(&request.name).await?;
                    let queue = self.queue.now().await?;
                    if let Some(entry) = queue.find(&request.name).filter(|entry| entry.is_active()) {
                        break entry.id.clone();
                    }
                }
                Err(failure) => return Err(failure),
            }
        };
        let placement = Placement {
            on: self.scheduler.name().to_owned(),
            id: Some(id),
            name: request.name.clone(),
            state: "pending".to_owned(),
            restarts: submissions - 1,
            ..Placement::default()
        };
        Ok(PlacedJob { placement, submissions, missing: 0, listings: 0, since: Instant::now() })
    }

    /// The config's `__duration__`, in seconds. A config that cannot be read is the node's to report.
    async fn config_timeout_s(&self, job: &BucketJob, record: &Record) -> Result<Option<u64>> {
        let Some(name) = record.text("configname").filter(|name| !name.starts_with("s3://")) else { return Ok(None) };
        let content = match job.bucket.read(&ncaas_core::bucket::Key::new(name)?, config::MAX_SIZE).await {
            Ok((content, _)) => content,
            Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        Ok(config::parse(name, &content).ok().and_then(|config| config.timeout_s))
    }

    /// A queue entry as records have it. `resubmissions` of the placer count as restarts, too.
    fn placement(&self, request: &JobRequest, entry: &ScheduledJob, resubmissions: u64) -> Placement {
        Placement {
            on: self.scheduler.name().to_owned(),
            id: Some(entry.id.clone()),
            name: request.name.clone(),
            state: entry.state.clone(),
            reason: entry.reason.clone(),
            node: entry.node.clone(),
            restarts: entry.restarts + resubmissions,
            submitted_at: entry.submitted_at.clone(),
            ended_at: entry.ended_at.clone().filter(|_| !entry.is_active()),
        }
    }

    async fn emit(&self, record: &mut Record, output: &Output, placement: &Placement) {
        let node = placement.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        let reason = placement.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let name = record.text("dataname").unwrap_or(&placement.name).to_owned();
        self.tool.note(&format!("`{name}`: {} is {}{node}{reason}", job_name(placement), placement.state));
        record.merge(&RecordFields { placement: Some(placement.clone()), ..RecordFields::default() });
        output.emit(record).await;
    }
}

/// The scheduler's job in a message: `slurm job 720`.
fn job_name(placement: &Placement) -> String {
    format!("{} job {}", placement.on, placement.id.as_deref().unwrap_or(&placement.name))
}

/// The saved record of the record's dataset and attempt, if it is in the bucket.
async fn saved_record(job: &BucketJob, record: &Record) -> Result<Option<Record>> {
    let Some(own) = record.job() else { return Ok(None) };
    let saved = match &own.label {
        Some(label) => job.results.saved_record(label).await?,
        None => job.results.saved_records().await?.remove(&own.dataset),
    };
    Ok(saved.filter(|saved| saved.job().is_some_and(|saved| saved.attempt == own.attempt)))
}

/// Uses the saved record as the result, without the fields that describe only its node.
fn finish(record: &mut Record, saved: &Record, placement: Option<&Placement>) {
    let job = record.job();
    for (field, value) in saved.as_map() {
        if !MACHINE_FIELDS.contains(&field.as_str()) {
            record.set(field, value);
        }
    }
    // A saved record is data: which job this is stays as the watcher said it.
    record.merge(&RecordFields { job, placement: placement.cloned(), ..RecordFields::default() });
    record.set("pushed", &true);
}
