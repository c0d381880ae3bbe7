//! The jobs that a verb works on: named by arguments, or by the records on stdin.

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::group::open_group;
use ncaas_core::layout::{self, SUBMISSIONS};
use ncaas_core::pipe::Input;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, RecordFields};
use ncaas_core::suggestion::nearest;
use ncaas_core::tool::Tool;

use crate::args::TargetArgs;
use crate::bucket_job::id_without_timestamp;
use crate::submission::{self, AllowedKeys, Submission};
use crate::submit_files::is_submit_file;

/// The records to work on.
pub(crate) async fn read_targets(args: &TargetArgs, tool: Tool, usage: &str) -> Result<Input> {
    let Some(target) = &args.target else { return Input::stdin(tool, usage) };
    let (bucket, group) = open_group(target, false).await?;
    if args.job.is_empty() {
        let hint =
            format!("name jobs by id or timestamp; `ncaas-submit ls {} --group {group}` lists them", bucket.address());
        return Err(Failure::new(Kind::Usage, format!("`{target}` is a group without a job")).hint(hint));
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
async fn check_submitted(bucket: &Bucket, group: &str, id: &str, name: &str) -> Result<()> {
    if bucket.exists_under(&layout::job_prefix(group, id)).await? {
        return Ok(());
    }
    let mut ids = Vec::new();
    let mut listing = bucket.list(&format!("{group}/{SUBMISSIONS}/"), None);
    while let Some(page) = listing.next_page().await? {
        for entry in page.entries.into_iter().filter(|entry| is_submit_file(entry.key.as_str())) {
            let Ok((content, _)) = bucket.read(&entry.key, submission::MAX_SIZE).await else { continue };
            let submission = Submission::read(&content, &AllowedKeys::everywhere(bucket.address(), group));
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
    Err(match nearest(id, ids.iter().map(String::as_str)) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`? {list}")),
        None => failure.hint(list),
    })
}
