//! The jobs that a verb works on: named by arguments, or by the records on stdin.

use std::collections::HashMap;

use ncaas_core::bucket::{Bucket, Key, Target};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};
use ncaas_core::tool::Tool;
use tokio::sync::Mutex;

use crate::args::TargetArgs;
use crate::bucket_job::{BucketJob, ResultsFolder};
use crate::group::validate_group;
use crate::submission::{self, Reach, Submission};

/// The records to work on.
///
/// # Errors
/// When the arguments name no job, or the bucket cannot be opened.
pub(crate) async fn read_targets(args: &TargetArgs, tool: Tool, usage: &str) -> Result<Input> {
    let Some(target) = &args.target else { return Input::stdin(tool, usage) };
    if args.job.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("`{target}` names a group, and no job in it"))
            .hint("name jobs by id or timestamp; `ncaas-submit ls BUCKET` lists them"));
    }
    let target = Target::parse(target)?;
    let bucket = Bucket::open(&target.bucket).await?;
    let records = args.job.iter().map(|name| {
        let id = if name.starts_with("job__") { name.clone() } else { layout::job_id(bucket.name(), name)? };
        let job = Job {
            id,
            bucket: Some(bucket.address().to_owned()),
            group: Some(target.group.clone()),
            dataset: 1,
            datasets: 1,
            ..Job::default()
        };
        Ok(Record::new(&Known { job: Some(job), ..Known::default() }))
    });
    Ok(Input::records(records.collect::<Result<Vec<_>>>()?))
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
    /// When the job is not from a bucket, or its bucket does not answer.
    pub(crate) async fn job_of_record(&self, record: &Record) -> Result<BucketJob> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        let (Some(address), Some(group)) = (job.bucket, job.group) else {
            return Err(Failure::new(Kind::BadRecord, format!("`{}` is not a job from a bucket", job.id)));
        };
        validate_group(&group)?;
        let bucket = self.open(&address).await?;
        let result_path = match record.text("resultpath") {
            Some(path) => Some(path.to_owned()),
            None => result_path_of_claim(&bucket, &group, &job.id).await?,
        };
        let results = ResultsFolder::find(&bucket, &group, &job.id, result_path.as_deref()).await?;
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

/// The `resultpath` of a job's submission, found through the job's claim; none while no watcher has claimed it.
async fn result_path_of_claim(bucket: &Bucket, group: &str, id: &str) -> Result<Option<String>> {
    let Some((claim, _)) = claim::read(bucket, group, id).await? else { return Ok(None) };
    let Ok(key) = Key::new(claim.submission) else { return Ok(None) };
    match bucket.read(&key, submission::MAX_SIZE).await {
        Ok((content, _)) => {
            // The watcher has accepted it: it is not judged again.
            Ok(Submission::read(&content, &Reach::everywhere(bucket.address(), group)).result_path)
        }
        Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => Ok(None),
        Err(failure) => Err(failure),
    }
}
