//! The scheduler of a run of `place`: Slurm, or a queue of AWS Batch.

use std::time::Duration;

use ncaas_core::failure::Result;
use ncaas_core::record::Record;

use super::aws_batch::BatchQueue;
use super::node_script::{NodeOptions, node_script};
use super::request::JobRequest;
use super::scheduled_job::ScheduledJob;
use super::slurm::{self, SettingWarning};

pub(crate) enum Scheduler {
    /// Slurm, with options that are passed to `sbatch` unchanged.
    Slurm { options: Vec<String> },
    /// A queue and a job definition of AWS Batch.
    Batch(BatchQueue),
}

impl Scheduler {
    /// Its name in records.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Scheduler::Slurm { .. } => "slurm",
            Scheduler::Batch(_) => "batch",
        }
    }

    /// Makes sure that the next listing has the jobs of that name.
    pub(super) async fn look_up(&self, name: &str) -> Result<()> {
        match self {
            // A listing has all jobs.
            Scheduler::Slurm { .. } => Ok(()),
            Scheduler::Batch(queue) => queue.look_up(name).await,
        }
    }

    /// The jobs that the run follows, and perhaps others.
    pub(super) async fn list(&self) -> Result<Vec<ScheduledJob>> {
        match self {
            Scheduler::Slurm { .. } => slurm::list().await,
            Scheduler::Batch(queue) => queue.list().await,
        }
    }

    /// The end of a job that listings no longer have, if the scheduler keeps accounts.
    pub(super) async fn ended_job(&self, id: &str) -> Option<ScheduledJob> {
        match self {
            Scheduler::Slurm { .. } => slurm::ended_job(id).await,
            Scheduler::Batch(_) => None,
        }
    }

    /// Submits a record's job, and returns its id.
    pub(super) async fn submit(
        &self,
        request: &JobRequest,
        record: &Record,
        node: &NodeOptions,
        submissions: u64,
    ) -> Result<String> {
        match self {
            Scheduler::Slurm { options } => {
                slurm::submit(request, &node_script(record, node), submissions, options).await
            }
            Scheduler::Batch(queue) => queue.submit(request, record, node, submissions).await,
        }
    }

    /// The run no longer follows the jobs of that name.
    pub(super) async fn forget(&self, name: &str, record: &Record) {
        match self {
            Scheduler::Slurm { .. } => {}
            Scheduler::Batch(queue) => queue.forget(name, record).await,
        }
    }

    /// What in the scheduler's configuration makes a job wait or lose its results.
    pub(super) async fn check_settings(&self, request: &JobRequest, poll: Duration) -> Vec<SettingWarning> {
        match self {
            Scheduler::Slurm { options } => {
                let sets_memory =
                    request.memory_mib.is_some() || options.iter().any(|option| option.starts_with("--mem"));
                slurm::check_settings(sets_memory, poll).await
            }
            Scheduler::Batch(_) => Vec::new(),
        }
    }

    /// Where the output of a job's script is.
    pub(super) fn output_hint(&self) -> &'static str {
        match self {
            Scheduler::Slurm { .. } => {
                "see the job's output, `slurm-ID.out` in the directory where `ncaas-submit place` was started"
            }
            Scheduler::Batch(_) => "see the job's log stream in CloudWatch",
        }
    }
}
