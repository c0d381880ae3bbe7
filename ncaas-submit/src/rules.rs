//! The platform's rules that only the bucket can answer: that datasets and config are there, and that the config parses.

use futures_util::{StreamExt, TryStreamExt, stream};
use ncaas_core::bucket::Bucket;
use ncaas_core::config;
use ncaas_core::failure::{Failure, Kind, Result};

use crate::setup::SetupLog;
use crate::submission::{Name, Submission};

/// How many datasets of one submission are looked for at once.
const AT_ONCE: usize = 16;

/// Looks for what the submission names, and adds to its reasons what speaks against it.
///
/// # Errors
/// When the bucket does not answer: that is no reason against the submission.
pub(crate) async fn check(submission: &mut Submission, bucket: &Bucket, log: &mut SetupLog) -> Result<()> {
    let mut reasons = Vec::new();
    match opened(bucket, submission).await {
        Ok(bucket) => {
            reasons.extend(check_datasets(&bucket, &submission.datasets, log).await?);
            if let Some(name) = &submission.config {
                match check_config(&bucket, name, log).await? {
                    Ok(warnings) => submission.warnings.extend(warnings),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        Err(failure) if is_a_reason(&failure) || failure.kind == Kind::BucketNotFound => {
            reasons.push(failure.message);
        }
        Err(failure) => return Err(failure),
    }
    submission.reasons.extend(reasons);
    Ok(())
}

/// The bucket that the submission's names lie in: its own, or the one that its `s3://` paths name.
async fn opened(bucket: &Bucket, submission: &Submission) -> Result<Bucket> {
    match submission.datasets.iter().chain(&submission.config).find_map(Name::other_bucket) {
        // A submission that may not read there is refused already: nothing is looked for.
        Some(other) if submission.is_accepted() => Bucket::open(&format!("s3://{other}")).await,
        _ => Ok(bucket.clone()),
    }
}

async fn check_datasets(bucket: &Bucket, names: &[Name], log: &mut SetupLog) -> Result<Vec<String>> {
    let own = names.iter().filter(|name| is_in(bucket, name));
    let found: Vec<Result<String, String>> =
        stream::iter(own).map(|name| look_for_dataset(bucket, name)).buffered(AT_ONCE).try_collect().await?;
    let mut reasons = Vec::new();
    for outcome in found {
        match outcome {
            Ok(event) => log.note(event),
            Err(reason) => reasons.push(reason),
        }
    }
    Ok(reasons)
}

/// Whether the name is one of that bucket: only then does it make sense to look for it there.
fn is_in(bucket: &Bucket, name: &Name) -> bool {
    name.other_bucket().is_none_or(|other| bucket.address().strip_prefix("s3://") == Some(other))
}

/// What was found, in words; or the reason why the submission is refused.
async fn look_for_dataset(bucket: &Bucket, name: &Name) -> Result<Result<String, String>> {
    let key = name.key();
    let found = if key.is_folder() {
        has_objects(bucket, key.as_str()).await.map(|any| any.then(|| format!("found the folder {name}")))
    } else {
        bucket.head(key).await.map(|entry| entry.map(|entry| format!("found {name}, {} bytes", entry.size)))
    };
    match found {
        Ok(Some(event)) => Ok(Ok(event)),
        Ok(None) if !key.is_folder() && has_objects(bucket, &format!("{key}/")).await? => {
            Ok(Err(format!("there is no file {name}, but a folder `{}/`", name.as_str())))
        }
        Ok(None) => Ok(Err(format!("there is nothing under the dataset's key {name}"))),
        Err(failure) if is_a_reason(&failure) => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// Warnings about the config, or the reason why the submission is refused for it.
async fn check_config(bucket: &Bucket, name: &Name, log: &mut SetupLog) -> Result<Result<Vec<String>, String>> {
    if !is_in(bucket, name) {
        return Ok(Ok(Vec::new()));
    }
    if !config::has_config_extension(name.as_str()) {
        return Ok(Err(format!("the config {name} ends in none of `.json`, `.yaml` and `.yml`")));
    }
    match bucket.read(name.key(), config::MAX_SIZE).await {
        Ok((content, _)) => match config::parse(name.as_str(), &content) {
            Ok(config) => {
                log.note(format!("read the config {name}, {} bytes", content.len()));
                Ok(Ok(config.warnings))
            }
            Err(failure) => Ok(Err(failure.message)),
        },
        Err(failure) if failure.kind == Kind::ObjectNotFound => {
            Ok(Err(format!("there is nothing under the config's key {name}")))
        }
        Err(failure) if is_a_reason(&failure) => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// Whether there is any object in the folder; an empty folder is no dataset.
async fn has_objects(bucket: &Bucket, folder: &str) -> Result<bool> {
    let mut listing = bucket.list(folder, None);
    while let Some(page) = listing.next_page().await? {
        if page.entries.iter().any(|entry| !entry.key.is_folder()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a failed look is the submission's own fault, and not one that may pass.
fn is_a_reason(failure: &Failure) -> bool {
    !failure.kind.is_transient()
}
