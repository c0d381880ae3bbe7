//! The platform's rules that need the bucket: the datasets and the config exist, and the config parses.

use futures_util::{StreamExt, TryStreamExt, stream};
use ncaas_core::bucket::Bucket;
use ncaas_core::config;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::quantity::format_count;

use crate::setup_log::SetupLog;
use crate::submission::{Name, Submission};

/// How many datasets of one submission are looked up at once.
const AT_ONCE: usize = 16;

/// How many missing datasets a refusal names. After these no more are looked up, so a refusal costs bounded work.
const MAX_MISSING: usize = 20;

/// Looks up the objects that a submission names, and adds the reasons for a refusal to it. A bucket that does not
/// answer is a failure, not a reason.
pub(crate) async fn validate(submission: &mut Submission, bucket: &Bucket, log: &mut SetupLog) -> Result<()> {
    match open_named_bucket(bucket, submission).await {
        Ok(bucket) => {
            let mut reasons = check_datasets(&bucket, &submission.datasets, log).await?;
            if let Some(name) = &submission.config {
                match check_config(&bucket, name, log).await? {
                    Ok(warnings) => submission.warnings.extend(warnings),
                    Err(reason) => reasons.push(reason),
                }
            }
            submission.reasons.extend(reasons);
        }
        Err(failure) if is_reason(&failure) || failure.kind == Kind::BucketNotFound => {
            submission.reasons.push(failure.message);
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}

/// The bucket of the submission's datasets and config: its own, or the one in its `s3://` paths.
async fn open_named_bucket(bucket: &Bucket, submission: &Submission) -> Result<Bucket> {
    match submission.datasets.iter().chain(&submission.config).find_map(Name::other_bucket) {
        // A submission that may not read there is refused already: nothing is looked up.
        Some(other) if submission.is_accepted() => Bucket::open(&format!("s3://{other}")).await,
        _ => Ok(bucket.clone()),
    }
}

/// The reasons against the datasets.
async fn check_datasets(bucket: &Bucket, names: &[Name], log: &mut SetupLog) -> Result<Vec<String>> {
    let own: Vec<&Name> = names.iter().filter(|name| is_in_bucket(bucket, name)).collect();
    let mut outcomes = stream::iter(&own).map(|name| find_dataset(bucket, name)).buffered(AT_ONCE);
    let mut reasons = Vec::new();
    let mut checked = 0;
    while reasons.len() < MAX_MISSING
        && let Some(outcome) = outcomes.try_next().await?
    {
        checked += 1;
        match outcome {
            Ok(event) if own.len() <= MAX_MISSING => log.add(event),
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if checked < own.len() {
        reasons.push(format!("not checked: {}", format_count(own.len() - checked, "more dataset")));
    } else if own.len() > MAX_MISSING && reasons.is_empty() {
        log.add(format!("found {}", format_count(own.len(), "dataset")));
    }
    Ok(reasons)
}

/// Whether a name is in that bucket.
fn is_in_bucket(bucket: &Bucket, name: &Name) -> bool {
    name.other_bucket().is_none_or(|other| bucket.address().strip_prefix("s3://") == Some(other))
}

/// The event for the set-up log if a dataset exists, or the reason for a refusal.
async fn find_dataset(bucket: &Bucket, name: &Name) -> Result<Result<String, String>> {
    let key = name.key();
    let found = if key.is_folder() {
        has_objects(bucket, key.as_str()).await.map(|any| any.then(|| format!("found the folder {name}")))
    } else {
        bucket.head(key).await.map(|entry| entry.map(|entry| format!("found {name}, {} bytes", entry.size)))
    };
    match found {
        Ok(Some(event)) => Ok(Ok(event)),
        Ok(None) if !key.is_folder() && has_objects(bucket, &format!("{key}/")).await? => {
            Ok(Err(format!("the dataset {name} is a folder: write `{}/`", name.as_str())))
        }
        Ok(None) => Ok(Err(format!("the dataset {name} {}", bucket.explain_missing(key).await?))),
        Err(failure) if is_reason(&failure) => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// Warnings about the config, or the reason for a refusal.
async fn check_config(bucket: &Bucket, name: &Name, log: &mut SetupLog) -> Result<Result<Vec<String>, String>> {
    if !is_in_bucket(bucket, name) {
        return Ok(Ok(Vec::new()));
    }
    if !config::has_config_extension(name.as_str()) {
        return Ok(Err(format!("the config {name} {}", config::NOT_A_CONFIG_NAME)));
    }
    match bucket.read(name.key(), config::MAX_SIZE).await {
        Ok((content, _)) => match config::parse(name.as_str(), &content) {
            Ok(config) => {
                log.add(format!("read the config {name}, {} bytes", content.len()));
                Ok(Ok(config.warnings))
            }
            Err(failure) => Ok(Err(failure.message)),
        },
        Err(failure) if failure.kind == Kind::ObjectNotFound => {
            Ok(Err(format!("the config {name} {}", bucket.explain_missing(name.key()).await?)))
        }
        Err(failure) if failure.kind == Kind::ObjectArchived => {
            Ok(Err(format!("{}: {}", failure.message, failure.hint.unwrap_or_default())))
        }
        Err(failure) if is_reason(&failure) => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// Whether there is an object in the folder; an empty folder is not a dataset. In a directory, every name is looked at:
/// a link may lead out of it. For a bucket on S3, the listing up to the first object suffices. Fails for a name in the
/// folder that cannot be pulled.
async fn has_objects(bucket: &Bucket, folder: &str) -> Result<bool> {
    let mut listing = bucket.list(folder, None);
    let mut has_objects = false;
    while let Some(page) = listing.next_page().await? {
        if let Some(unusable) = page.unusable.into_iter().next() {
            return Err(unusable.why);
        }
        has_objects |= page.entries.iter().any(|entry| !entry.key.is_folder());
        if has_objects && bucket.as_s3().is_some() {
            break;
        }
    }
    Ok(has_objects)
}

/// Whether a failed lookup is the submission's own fault, and will not pass.
fn is_reason(failure: &Failure) -> bool {
    !failure.kind.is_transient()
}
