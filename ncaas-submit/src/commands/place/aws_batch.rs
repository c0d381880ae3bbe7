//! A queue of AWS Batch.
//!
//! SubmitJob takes a few kilobytes and has no idempotency token. So the record is in the bucket while its
//! job is placed, and jobs are looked up by name before one is submitted. All jobs of a run are described together.

use std::cell::RefCell;
use std::collections::HashMap;

use aws_sdk_batch::Client;
use aws_sdk_batch::config::http::HttpResponse;
use aws_sdk_batch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_batch::types::{
    ContainerOverrides, JobDetail, JobTimeout, KeyValuePair, KeyValuesPair, ResourceRequirement, ResourceType,
};
use jiff::Timestamp;
use ncaas_core::bucket::{Bucket, Key, aws_settings};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::PLACEMENTS;
use ncaas_core::record::Record;

use super::node_script::NodeOptions;
use super::request::JobRequest;
use super::scheduled_job::ScheduledJob;
use crate::aws_failure::aws_failure;

/// How many jobs one request describes: the maximum of AWS Batch.
const AT_ONCE: usize = 100;

/// The shortest time limit of AWS Batch, in seconds.
const SHORTEST_TIMEOUT_S: u64 = 60;

/// The variable with how many times the placer has submitted the record.
const SUBMISSIONS: &str = "ncaas_submissions";

/// A queue, and the definition of the jobs in it.
pub(crate) struct BatchQueue {
    client: Client,
    queue: String,
    definition: String,
    /// The names of the jobs that are followed, by job id.
    followed: RefCell<HashMap<String, String>>,
}

impl BatchQueue {
    /// A queue in the account and region of the usual AWS settings.
    ///
    /// # Errors
    /// When there are no such settings.
    pub(crate) async fn open(queue: &str, definition: &str) -> Result<Self> {
        let client = Client::new(&aws_settings().await?);
        Ok(BatchQueue {
            client,
            queue: queue.to_owned(),
            definition: definition.to_owned(),
            followed: RefCell::default(),
        })
    }

    /// Follows the newest job of that name, if there is one.
    pub(super) async fn look_up(&self, name: &str) -> Result<()> {
        let filter = KeyValuesPair::builder().name("JOB_NAME").values(job_name(name)).build();
        let asked = self.client.list_jobs().job_queue(&self.queue).filters(filter).send().await;
        let found = asked.map_err(|error| failure("list the jobs of", &self.queue, &error))?.job_summary_list;
        let newest = found.unwrap_or_default().into_iter().max_by_key(|job| job.created_at);
        if let Some(id) = newest.and_then(|job| job.job_id) {
            self.followed.borrow_mut().insert(id, name.to_owned());
        }
        Ok(())
    }

    /// All jobs that are followed.
    pub(super) async fn list(&self) -> Result<Vec<ScheduledJob>> {
        let ids: Vec<String> = self.followed.borrow().keys().cloned().collect();
        let mut entries = Vec::with_capacity(ids.len());
        for ids in ids.chunks(AT_ONCE) {
            let asked = self.client.describe_jobs().set_jobs(Some(ids.to_vec())).send().await;
            let jobs = asked.map_err(|error| failure("describe the jobs of", &self.queue, &error))?.jobs;
            let followed = self.followed.borrow();
            entries.extend(jobs.unwrap_or_default().into_iter().filter_map(|job| {
                let name = followed.get(job.job_id.as_deref()?)?;
                Some(entry(name, job))
            }));
        }
        Ok(entries)
    }

    /// Puts the record into its bucket, and submits its job.
    pub(super) async fn submit(
        &self,
        request: &JobRequest,
        record: &Record,
        node: &NodeOptions,
        submissions: u64,
    ) -> Result<String> {
        let (bucket, key) = record_object(record, &request.name).await?;
        bucket.put(&key, record.to_line()).await?;
        let variables = [
            ("ncaas_record_at", Some(format!("{}/{key}", bucket.address()))),
            ("ncaas_image", node.image.clone()),
            ("ncaas_io_dir", node.io_dir.clone()),
            (SUBMISSIONS, Some(submissions.to_string())),
        ];
        let mut overrides = ContainerOverrides::builder();
        for (name, value) in variables {
            if let Some(value) = value {
                overrides = overrides.environment(KeyValuePair::builder().name(name).value(value).build());
            }
        }
        let resources = [
            (ResourceType::Vcpu, request.cpus),
            (ResourceType::Memory, request.memory_mib),
            (ResourceType::Gpu, request.gpu.then_some(1)),
        ];
        for (kind, value) in resources {
            if let Some(value) = value {
                let resource = ResourceRequirement::builder().r#type(kind).value(value.to_string()).build();
                overrides = overrides.resource_requirements(resource);
            }
        }
        let mut submit = self.client.submit_job().job_name(job_name(&request.name)).job_queue(&self.queue);
        submit = submit.job_definition(&self.definition).container_overrides(overrides.build());
        if let Some(minutes) = request.minutes {
            let seconds = i32::try_from((minutes * 60).max(SHORTEST_TIMEOUT_S)).unwrap_or(i32::MAX);
            submit = submit.timeout(JobTimeout::builder().attempt_duration_seconds(seconds).build());
        }
        let submitted = submit.send().await.map_err(|error| failure("submit a job to", &self.queue, &error))?;
        let id = submitted.job_id.unwrap_or_default();
        self.followed.borrow_mut().insert(id.clone(), request.name.clone());
        Ok(id)
    }

    /// Follows the jobs of that name no longer, and removes the record from its bucket.
    pub(super) async fn forget(&self, name: &str, record: &Record) {
        self.followed.borrow_mut().retain(|_, followed| followed != name);
        if let Ok((bucket, key)) = record_object(record, name).await {
            // A small object that stays does no harm.
            let _ = bucket.delete(&key).await;
        }
    }
}

/// Where the record of a placed job lies while it is placed.
async fn record_object(record: &Record, name: &str) -> Result<(Bucket, Key)> {
    let address = record.job().and_then(|job| job.bucket).unwrap_or_default();
    if !address.starts_with("s3://") {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{address}` is not on S3, and a node of AWS Batch cannot read it"),
        ));
    }
    Ok((Bucket::open(&address).await?, Key::new(format!("{PLACEMENTS}{name}.json"))?))
}

/// A name that AWS Batch accepts: letters, digits, `_` and `-`.
fn job_name(name: &str) -> String {
    name.replace('.', "-")
}

fn entry(name: &str, job: JobDetail) -> ScheduledJob {
    let is_stopped = job.is_cancelled == Some(true) || job.is_terminated == Some(true);
    let state = job.status.map(|status| status.as_str().to_ascii_lowercase()).unwrap_or_default();
    let time = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).ok().map(|time| time.to_string());
    let variables = job.container.as_ref().and_then(|container| container.environment.as_deref()).unwrap_or_default();
    let submissions = variables.iter().find(|variable| variable.name.as_deref() == Some(SUBMISSIONS));
    ScheduledJob {
        id: job.job_id.unwrap_or_default(),
        name: name.to_owned(),
        state: if state == "failed" && is_stopped { "cancelled".to_owned() } else { state },
        reason: job.status_reason.filter(|reason| !reason.is_empty()),
        restarts: job.attempts.map_or(0, |attempts| attempts.len().saturating_sub(1) as u64),
        submitted_at: job.created_at.and_then(time),
        ended_at: job.stopped_at.and_then(time),
        submissions: submissions.and_then(|variable| variable.value.as_deref()?.parse().ok()).unwrap_or(1),
        node: job.container.and_then(|container| container.container_instance_arn),
    }
}

fn failure<E>(what: &str, queue: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cannot = format!("cannot {what} the AWS Batch queue `{queue}`");
    aws_failure(&cannot, error, Kind::SchedulerUnreachable, |code| match code {
        "ServerException" => Kind::SchedulerUnreachable,
        _ => Kind::SchedulerRefused,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_batch::types::{ContainerDetail, JobStatus};

    use super::*;

    #[test]
    fn a_job_of_batch_becomes_an_entry() {
        let variable = KeyValuePair::builder().name(SUBMISSIONS).value("2").build();
        let job = |status: JobStatus| JobDetail::builder().job_id("a-b").status(status).created_at(1_000);
        let running = job(JobStatus::Running)
            .container(ContainerDetail::builder().environment(variable).container_instance_arn("arn:x").build())
            .build();
        let running = entry("job__pca_1.5-1-ab", running);
        assert_eq!(
            (running.name.as_str(), running.state.as_str(), running.submissions),
            ("job__pca_1.5-1-ab", "running", 2)
        );
        assert_eq!((running.node.as_deref(), running.is_active()), (Some("arn:x"), true));
        assert_eq!(running.submitted_at.as_deref(), Some("1970-01-01T00:00:01Z"));
        for (status, is_active) in [
            (JobStatus::Submitted, true),
            (JobStatus::Pending, true),
            (JobStatus::Runnable, true),
            (JobStatus::Starting, true),
            (JobStatus::Succeeded, false),
            (JobStatus::Failed, false),
        ] {
            assert_eq!(entry("x", job(status.clone()).build()).is_active(), is_active, "{status}");
        }
        assert_eq!(entry("x", job(JobStatus::Failed).is_terminated(true).build()).state, "cancelled");
        assert_eq!(job_name("job__pca_1.5-1-ab"), "job__pca_1-5-1-ab");
    }
}
