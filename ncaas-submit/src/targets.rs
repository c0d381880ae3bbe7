//! The jobs that a verb works on: named by arguments, or by the records on stdin.

use std::collections::HashMap;

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::{self, SUBMISSIONS};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, RecordFields};
use ncaas_core::tool::Tool;
use tokio::sync::Mutex;

use crate::args::TargetArgs;
use crate::bucket_job::{BucketJob, ResultsFolder, id_without_timestamp};
use crate::group::{find_similar, open_group};
use crate::submission::{self, Reach, Submission};
use crate::submit_files::is_submit_file;

/// The records to work on.
///
/// # Errors
/// When the arguments name no job, or the bucket cannot be opened.
pub(crate) async fn read_targets(args: &TargetArgs, tool: Tool, usage: &str) -> Result<Input> {
    let Some(target) = &args.target else { return Input::stdin(tool, usage) };
    let (bucket, group) = open_group(target).await?;
    if args.job.is_empty() {
        let hint =
            format!("name jobs by id or timestamp; `ncaas-submit ls {} --group {group}` lists them", bucket.address());
        return Err(Failure::new(Kind::Usage, format!("`{target}` names a group, and no job in it")).hint(hint));
    }
    let mut records = Vec::new();
    for name in &args.job {
        let id = if name.starts_with("job__") { name.clone() } else { layout::job_id(bucket.name(), name)? };
        check_submitted(&bucket, &group, &id, name).await?;
        let job = Job {
            id,
            bucket: Some(bucket.address().to_owned()),
            group: Some(group.clone()),
            dataset: 1,
            datasets: 1,
            ..Job::default()
        };
        records.push(Record::new(&RecordFields { job: Some(job), ..RecordFields::default() }));
    }
    Ok(Input::records(records))
}

/// Makes sure that a submission with that job id exists.
///
/// # Errors
/// [`Kind::ObjectNotFound`], with the most similar id.
async fn check_submitted(bucket: &Bucket, group: &str, id: &str, name: &str) -> Result<()> {
    if bucket.exists_under(&layout::job_prefix(group, id)).await? {
        return Ok(());
    }
    let mut ids = Vec::new();
    let mut listing = bucket.list(&format!("{group}/{SUBMISSIONS}/"), None);
    while let Some(page) = listing.next_page().await? {
        for entry in page.entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str())) {
            let Ok((content, _)) = bucket.read(&entry.key, submission::MAX_SIZE).await else { continue };
            let submission = Submission::read(&content, &Reach::everywhere(bucket.address(), group));
            let submitted = submission.timestamp.and_then(|timestamp| layout::job_id(bucket.name(), &timestamp).ok());
            let submitted = submitted.unwrap_or_else(|| id_without_timestamp(bucket, &entry.key));
            if submitted == id {
                return Ok(());
            }
            ids.push(submitted);
        }
    }
    let failure = Failure::new(Kind::ObjectNotFound, format!("the group `{group}` has no submission `{name}`"));
    let list = format!("`ncaas-submit ls {} --group {group}` lists all", bucket.address());
    Err(match find_similar(id, ids.iter().map(String::as_str)) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`? {list}")),
        None => failure.hint(list),
    })
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
        layout::check_group(&group)?;
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
    let read = bucket.read(&key, submission::MAX_SIZE).await.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
    // The watcher has accepted it: it is not judged again.
    let read = read.map(|(content, _)| Submission::read(&content, &Reach::everywhere(bucket.address(), group)));
    Ok(read.and_then(|submission| submission.result_path))
}
