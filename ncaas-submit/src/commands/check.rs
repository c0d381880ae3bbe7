//! `ncaas-submit check`: list every reason for which `watch` would refuse a submission. Nothing is run.

use std::path::Path;

use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::group::open_group;
use ncaas_core::layout::{self, SUBMISSIONS};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, RecordFields};
use ncaas_core::text;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CheckArgs;
use crate::setup_log::SetupLog;
use crate::submission::{self, AllowedKeys, Submission};
use crate::validation;

/// How many records are checked at once.
const AT_ONCE: usize = 8;

pub(crate) async fn check(tool: Tool, args: CheckArgs) -> Result<ExitStatus> {
    let target = match &args.target {
        Some(target) => {
            let (bucket, group) = open_group(target, true).await?;
            Some(Context { bucket: Some(bucket), group })
        }
        None => None,
    };
    if !args.submissions.is_empty() {
        return Pipe::for_args(tool, &args.pipe, 1)
            .source(async |output: &Output| {
                for submission in &args.submissions {
                    check_file(tool, submission, target.as_ref(), &args.allow_bypass, output).await?;
                }
                Ok(())
            })
            .await;
    }
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET --once | ncaas-submit check")?;
    Pipe::for_args(tool, &args.pipe, AT_ONCE)
        .filter(input, async |record: &mut Record, _output: &Output| {
            check_record(record, target.as_ref(), &args.allow_bypass).await
        })
        .await
}

/// The group that a submission is checked against.
#[derive(Clone)]
struct Context {
    /// None if no bucket is known: only the form of the submission is checked.
    bucket: Option<Bucket>,
    group: String,
}

impl Context {
    async fn open(bucket: &str, group: String) -> Result<Self> {
        Ok(Context { bucket: Some(Bucket::open(bucket).await?), group })
    }

    fn reach(&self, bypass: &[String]) -> AllowedKeys {
        AllowedKeys::new(self.bucket.as_ref().map_or("", Bucket::address), &self.group, bypass)
    }

    /// Adds the reasons for a refusal that need the bucket.
    async fn validate(&self, submission: &mut Submission, log: &mut SetupLog) -> Result<()> {
        match &self.bucket {
            Some(bucket) => validation::validate(submission, bucket, log).await,
            None => Ok(()),
        }
    }
}

struct SubmitFile {
    context: Context,
    /// Its key in the bucket, if it has one.
    key: Option<String>,
    content: Result<Vec<u8>>,
}

impl SubmitFile {
    async fn open(name: &str, target: Option<&Context>) -> Result<Self> {
        match S3Address::parse(name)? {
            Some(address) => SubmitFile::open_object(address, target).await,
            None => SubmitFile::open_path(&files::absolute(Path::new(name))?, target).await,
        }
    }

    async fn open_object(address: S3Address, target: Option<&Context>) -> Result<Self> {
        let bucket = Bucket::open(&format!("s3://{}", address.bucket)).await?;
        let key = Key::new(address.key)?;
        let content = bucket.read(&key, submission::MAX_SIZE).await.map(|(content, _)| content);
        let context = match target {
            Some(target) => target.clone(),
            None => Context { bucket: Some(bucket), group: key.group().to_owned() },
        };
        Ok(SubmitFile { context, key: Some(key.as_str().to_owned()), content })
    }

    async fn open_path(path: &Path, target: Option<&Context>) -> Result<Self> {
        let content = read_file(path);
        let (context, key) = match (target, find_bucket_of_path(path)) {
            (Some(target), _) => (target.clone(), None),
            (None, Some((bucket, group, key))) => (Context::open(&bucket, group).await?, Some(key)),
            (None, None) => {
                let group = group_of_config(content.as_deref().unwrap_or_default());
                (Context { bucket: None, group }, None)
            }
        };
        Ok(SubmitFile { context, key, content })
    }
}

/// Checks a submit file, and emits the records that `watch` would emit.
async fn check_file(
    tool: Tool,
    name: &str,
    target: Option<&Context>,
    bypass: &[String],
    output: &Output,
) -> Result<()> {
    let SubmitFile { context, key, content } = SubmitFile::open(name, target).await?;
    let mut submission = match content {
        Ok(content) => Submission::read(&content, &context.reach(bypass)),
        Err(failure) if failure.kind == Kind::TooLarge => Submission::refused(failure.message),
        Err(failure) => return Err(failure),
    };
    let mut log = SetupLog::default();
    log.add(format!("read `{}`", key.as_deref().unwrap_or(name)));
    context.validate(&mut submission, &mut log).await?;
    let timestamp = submission.timestamp.clone();
    let analysis = context.bucket.as_ref().map_or("analysis", Bucket::name);
    let id = layout::job_id(analysis, timestamp.as_deref().unwrap_or("unknown")).unwrap_or_else(|failure| {
        submission.reasons.push(failure.message);
        format!("job__{analysis}_unknown")
    });
    let job = Job {
        id,
        bucket: context.bucket.as_ref().map(|bucket| bucket.address().to_owned()),
        group: Some(context.group.clone()),
        submission: key,
        timestamp,
        ..Job::default()
    };
    if let Some(refusal) = submission.refusal() {
        output.report_failure(tool, &refusal.context(format!("`{name}`")));
    }
    for mut record in submission.records(&job, tool.name()) {
        record.merge(&RecordFields { setup: Some(log.events()), ..RecordFields::default() });
        output.emit(&record).await;
    }
    Ok(())
}

/// Checks the submission in a record, which is a job's record or a submit file on one line.
async fn check_record(record: &mut Record, target: Option<&Context>, bypass: &[String]) -> Result<()> {
    let job = record.job();
    let context = match (&job, target) {
        (Some(Job { bucket: Some(bucket), group: Some(group), .. }), _) => Context::open(bucket, group.clone()).await?,
        (_, Some(target)) => target.clone(),
        (_, None) => {
            Context { bucket: None, group: record.require("configname")?.split('/').next().unwrap_or("").to_owned() }
        }
    };
    let mut fields = record.as_map().clone();
    if let Some(timestamp) = job.and_then(|job| job.timestamp) {
        fields.insert("timestamp".to_owned(), serde_json::Value::String(timestamp));
    }
    let mut submission = Submission::from_fields(fields, &context.reach(bypass));
    context.validate(&mut submission, &mut SetupLog::default()).await?;
    submission.refusal().map_or(Ok(()), Err)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if !metadata.is_file() {
        return Err(Failure::new(Kind::UnsafePath, format!("cannot read `{}`: not a regular file", path.display())));
    }
    if metadata.len() > submission::MAX_SIZE {
        let limit = submission::MAX_SIZE;
        return Err(Failure::new(Kind::TooLarge, format!("`{}` is larger than {limit} bytes", path.display())));
    }
    std::fs::read(path).doing("read", path)
}

/// The bucket and group of a submit file that is in a directory bucket, and its key there.
fn find_bucket_of_path(path: &Path) -> Option<(String, String, String)> {
    let folder = path.parent()?;
    if folder.file_name()? != SUBMISSIONS {
        return None;
    }
    let group = folder.parent()?;
    let bucket = group.parent()?;
    let key = path.strip_prefix(bucket).ok()?.to_str()?.to_owned();
    Some((bucket.to_str()?.to_owned(), group.file_name()?.to_str()?.to_owned(), key))
}

/// The group of a submission that is in no bucket: the one of its config.
fn group_of_config(content: &[u8]) -> String {
    let submission: serde_json::Value = serde_json::from_slice(text::without_bom(content)).unwrap_or_default();
    let config = submission.get("configname").and_then(serde_json::Value::as_str).unwrap_or_default();
    config.split('/').next().unwrap_or_default().to_owned()
}
