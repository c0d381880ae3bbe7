//! The jobs that a verb is about: named by arguments, or those of the records on stdin.

use std::collections::HashMap;

use ncaas_core::bucket::{Bucket, Key, Target};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};
use ncaas_core::tool::Tool;
use tokio::sync::Mutex;

use crate::args::Subject;
use crate::job::{BucketJob, Folder};
use crate::submission::{self, Reach, Submission};

impl Subject {
    /// The records to work on.
    pub(crate) async fn input(&self, tool: Tool, usage: &str) -> Result<Input> {
        let Some(target) = &self.target else { return Input::stdin(tool, usage) };
        if self.job.is_empty() {
            return Err(Failure::new(Kind::Usage, format!("`{target}` alone names no job"))
                .hint("name jobs by their id or timestamp; `ncaas-submit ls BUCKET` shows them"));
        }
        let target = Target::parse(target)?;
        let bucket = Bucket::open(&target.bucket).await?;
        let records = self.job.iter().map(|name| {
            let id = match name.starts_with("job__") {
                true => name.clone(),
                false => layout::job_id(bucket.name(), name)?,
            };
            let job = Job {
                id,
                bucket: Some(bucket.address().to_owned()),
                group: Some(target.group.clone()),
                ..Job::default()
            };
            // Made as serde makes them: a record's job is the first of one dataset until more is known.
            Ok(Record::new(&Known { job: Some(Job { dataset: 1, datasets: 1, ..job }), ..Known::default() }))
        });
        Ok(Input::records(records.collect::<Result<Vec<_>>>()?))
    }
}

/// The buckets of a run, each opened once.
#[derive(Default)]
pub(crate) struct Buckets {
    opened: Mutex<HashMap<String, Bucket>>,
}

impl Buckets {
    /// The job of a record.
    ///
    /// # Errors
    /// When it came from no bucket, or its bucket does not answer.
    pub(crate) async fn job_of(&self, record: &Record) -> Result<BucketJob> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        let (Some(address), Some(group)) = (job.bucket, job.group) else {
            return Err(Failure::new(Kind::BadRecord, format!("`{}` came from no bucket", job.id)));
        };
        crate::watch::check_group(&group)?;
        let bucket = self.open(&address).await?;
        let result_path = match record.text("resultpath") {
            Some(path) => Some(path.to_owned()),
            None => result_path_of(&bucket, &group, &job.id).await?,
        };
        let results = Folder::of(&bucket, &group, &job.id, result_path.as_deref()).await?;
        Ok(BucketJob { bucket, group, id: job.id, results })
    }

    async fn open(&self, address: &str) -> Result<Bucket> {
        let mut opened = self.opened.lock().await;
        if let Some(bucket) = opened.get(address) {
            return Ok(bucket.clone());
        }
        let bucket = Bucket::open(address).await?;
        opened.insert(address.to_owned(), bucket.clone());
        Ok(bucket)
    }
}

/// Where a job's submission wants its results, found by the job's claim; none while no watcher has claimed it.
async fn result_path_of(bucket: &Bucket, group: &str, id: &str) -> Result<Option<String>> {
    let Some(claim) = crate::claim::read(bucket, &crate::claim::key(group, id)?).await? else { return Ok(None) };
    let Ok(key) = Key::new(claim.submission) else { return Ok(None) };
    match bucket.read(&key, submission::LARGEST).await {
        Ok((content, _)) => {
            // What the watch let through is not judged again here.
            let reach = Reach::everywhere(bucket.address(), group);
            Ok(Submission::read(&content, &reach).result_path)
        }
        Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => Ok(None),
        Err(failure) => Err(failure),
    }
}
