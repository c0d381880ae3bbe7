//! `ncaas-submit check`: what the watch would say to a submission, with every reason, and nothing is run.

use std::path::{Path, PathBuf};

use ncaas_core::bucket::{Bucket, Key, S3Address, Target};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::{self, SUBMISSIONS};
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CheckArgs;
use crate::rules;
use crate::setup::SetupLog;
use crate::submission::{self, Reach, Submission};

pub(crate) async fn check(tool: Tool, args: CheckArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let target = args.target.as_deref().map(Target::parse).transpose()?;
    if !args.submissions.is_empty() {
        return Pipe::new(tool, 1)
            .source(async |output: &Output| {
                for submission in &args.submissions {
                    check_file(tool, submission, target.as_ref(), &args.allow_bypass, output).await?;
                }
                Ok(())
            })
            .await;
    }
    let input = Input::stdin(tool, "ncaas-submit watch BUCKET --once | ncaas-submit check")?;
    Pipe::new(tool, args.pipe.jobs_or(8))
        .filter(input, async |record: &mut Record, _output: &Output| {
            check_record(record, target.as_ref(), &args.allow_bypass).await
        })
        .await
}

/// A submission that is held to the rules of a place.
struct Place {
    /// None where the submission lies nowhere: only its form can be checked.
    bucket: Option<Bucket>,
    group: String,
}

impl Place {
    async fn open(target: &Target) -> Result<Self> {
        Ok(Place { bucket: Some(Bucket::open(&target.bucket).await?), group: target.group.clone() })
    }

    fn reach(&self, bypass: &[String]) -> Reach {
        Reach::new(self.bucket.as_ref().map_or("", Bucket::address), &self.group, bypass)
    }

    /// Adds the reasons that show only in the bucket.
    async fn look(&self, submission: &mut Submission, log: &mut SetupLog) -> Result<()> {
        match &self.bucket {
            Some(bucket) => rules::check(submission, bucket, log).await,
            None => Ok(()),
        }
    }
}

/// Checks one submit file, and emits the records that it would become.
async fn check_file(tool: Tool, name: &str, target: Option<&Target>, bypass: &[String], output: &Output) -> Result<()> {
    let mut log = SetupLog::default();
    let (place, key, content) = match S3Address::parse(name)? {
        Some(address) => {
            let bucket = Bucket::open(&format!("s3://{}", address.bucket)).await?;
            let key = Key::new(address.key)?;
            let place = match target {
                Some(target) => Place::open(target).await?,
                None => Place { bucket: Some(bucket.clone()), group: key.group().to_owned() },
            };
            let content = bucket.read(&key, submission::LARGEST).await.map(|(content, _)| content);
            (place, Some(key.as_str().to_owned()), content)
        }
        None => {
            let path = files::absolute(Path::new(name))?;
            let content = read_file(&path);
            let (target, key) = match (target, lies_in(&path)) {
                (Some(target), _) => (Some(target.clone()), None),
                (None, Some((target, key))) => (Some(target), Some(key)),
                (None, None) => (None, None),
            };
            let place = match target {
                Some(target) => Place::open(&target).await?,
                None => Place { bucket: None, group: group_of(content.as_deref().unwrap_or_default()) },
            };
            (place, key, content)
        }
    };
    let mut submission = match content {
        Ok(content) => Submission::read(&content, &place.reach(bypass)),
        Err(failure) if failure.kind == Kind::TooLarge => Submission::refused(failure.message),
        Err(failure) => return Err(failure),
    };
    log.note(format!("read `{}`", key.as_deref().unwrap_or(name)));
    place.look(&mut submission, &mut log).await?;
    let timestamp = submission.timestamp.clone();
    let analysis = place.bucket.as_ref().map_or("analysis", Bucket::name);
    let id = match layout::job_id(analysis, timestamp.as_deref().unwrap_or("unknown")) {
        Ok(id) => id,
        Err(failure) => {
            submission.reasons.push(failure.message);
            format!("job__{analysis}_unknown")
        }
    };
    let job = Job {
        id,
        bucket: place.bucket.as_ref().map(|bucket| bucket.address().to_owned()),
        group: Some(place.group.clone()),
        submission: key,
        timestamp,
        ..Job::default()
    };
    if let Some(refusal) = submission.refusal() {
        tool.report_failure(&refusal.context(format!("`{name}`")));
    }
    for mut record in submission.records(&job, tool.name()) {
        record.merge(&Known { setup: Some(log.events()), ..Known::default() });
        output.emit(&record).await;
    }
    Ok(())
}

/// Checks what a record says of its submission, be it a job's record or a submit file on one line.
async fn check_record(record: &mut Record, target: Option<&Target>, bypass: &[String]) -> Result<()> {
    let job = record.job();
    let place = match (&job, target) {
        (Some(Job { bucket: Some(bucket), group: Some(group), .. }), _) => {
            Place::open(&Target { bucket: bucket.clone(), group: group.clone() }).await?
        }
        (_, Some(target)) => Place::open(target).await?,
        (_, None) => {
            Place { bucket: None, group: record.require("configname")?.split('/').next().unwrap_or("").to_owned() }
        }
    };
    let mut fields = record.as_map().clone();
    if let Some(timestamp) = job.and_then(|job| job.timestamp) {
        fields.insert("timestamp".to_owned(), serde_json::Value::String(timestamp));
    }
    let mut submission = Submission::from_fields(fields, &place.reach(bypass));
    let mut log = SetupLog::default();
    place.look(&mut submission, &mut log).await?;
    submission.refusal().map_or(Ok(()), Err)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if !metadata.is_file() {
        return Err(Failure::new(Kind::UnsafePath, format!("cannot read `{}`: not a regular file", path.display())));
    }
    if metadata.len() > submission::LARGEST {
        let largest = submission::LARGEST;
        return Err(Failure::new(Kind::TooLarge, format!("`{}` is larger than {largest} bytes", path.display())));
    }
    std::fs::read(path).doing("read", path)
}

/// The bucket and group of a submit file that lies in a directory bucket, and its key there.
fn lies_in(path: &Path) -> Option<(Target, String)> {
    let folder = path.parent()?;
    if folder.file_name()? != SUBMISSIONS {
        return None;
    }
    let group = folder.parent()?;
    let bucket: PathBuf = group.parent()?.to_owned();
    let target = Target { bucket: bucket.to_str()?.to_owned(), group: group.file_name()?.to_str()?.to_owned() };
    let key = path.strip_prefix(&bucket).ok()?.to_str()?.to_owned();
    Some((target, key))
}

/// The group that a submission lying nowhere seems to be for: that of its config.
fn group_of(content: &[u8]) -> String {
    let submission: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    let config = submission.get("configname").and_then(serde_json::Value::as_str).unwrap_or_default();
    config.split('/').next().unwrap_or_default().to_owned()
}
