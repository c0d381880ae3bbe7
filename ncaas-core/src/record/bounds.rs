//! The bounds of a record: the length of its line, and its fields.
//!
//! Records come from a bucket, from a container's label or from anybody's script. Their numbers and names become counts
//! of lines, file names, keys and paths. A record with a field out of bounds is refused when a tool reads it, before
//! any verb acts on it. A record that carries an error passes with the dataset and config that it was refused for.

use std::path::{Component, Path};

use super::fields::{Datasets, Job, RecordFields};
use crate::failure::{Failure, Kind, Result};
use crate::layout::check_group;
use crate::text;

/// The maximum length of a line in bytes: enough for a record with some 300,000 results. A longer line becomes a
/// `bad-record` and is not held in memory.
pub const MAX_LINE: usize = 64 << 20;

/// How many datasets a submission may have: more than fit into the largest submit file.
pub const MAX_DATASETS: u64 = 200_000;
/// The length of a job's id, group and label, and of a container's name, in bytes: Linux's limit for a file's name.
pub const MAX_NAME: usize = 255;
/// The length of a key, path or image name, in bytes: Linux's limit for a path.
pub const MAX_PATH: usize = 4096;
/// How much of a value is shown in a message, in characters.
const SHOWN: usize = 200;

/// Checks the fields that become names, paths and counts.
///
/// # Errors
/// [`Kind::BadRecord`] with the field that is out of bounds.
pub(super) fn check(known: &RecordFields) -> Result<()> {
    if let Some(job) = &known.job {
        check_job(job)?;
        if job.group.is_some() && known.error.is_none() {
            let datasets = known.dataname.as_ref().map(Datasets::names).unwrap_or_default();
            datasets.into_iter().try_for_each(|name| check_key("dataname", name))?;
            known.configname.as_deref().map_or(Ok(()), |name| check_key("configname", name))?;
        }
    }
    if let Some(io_dir) = &known.io_dir {
        check_io_dir(io_dir)?;
        check_text("io_dir", Some(io_dir), MAX_PATH)?;
    }
    for (field, value) in
        [("configname", &known.configname), ("image", &known.image), ("resultpath", &known.resultpath)]
    {
        check_text(field, value.as_deref(), MAX_PATH)?;
    }
    if let Some(container) = &known.container {
        if container.reference().contains('/') {
            let cause = format!(
                "`container.id` is not the name of a container: {}",
                text::quoted(container.reference(), SHOWN)
            );
            return Err(out_of_bounds(cause));
        }
        check_text("container.id", Some(&container.id), MAX_NAME)?;
        check_text("container.name", Some(&container.name), MAX_NAME)?;
    }
    Ok(())
}

/// Whether a text is the path of an io-dir.
pub(crate) fn check_io_dir(path: &str) -> Result<()> {
    check_path("io_dir", path)
}

fn check_path(field: &str, path: &str) -> Result<()> {
    let bad = |cause: &str| Err(out_of_bounds(format!("`{field}` {cause}: {}", text::quoted(path, SHOWN))));
    if !path.starts_with('/') {
        bad("is not an absolute path")
    } else if path.contains('\0') || Path::new(path).components().any(|part| part == Component::ParentDir) {
        bad("must not contain `..`")
    } else {
        Ok(())
    }
}

fn check_job(job: &Job) -> Result<()> {
    for (field, value) in [
        ("job.id", Some(job.id.as_str())),
        ("job.group", job.group.as_deref()),
        ("job.label", job.label.as_deref()),
        ("job.timestamp", job.timestamp.as_deref()),
    ] {
        check_text(field, value, MAX_NAME)?;
    }
    check_name("job.id", &job.id)?;
    if let Some(label) = &job.label {
        check_name("job.label", label)?;
    }
    if let Some(group) = &job.group {
        check_group(group).map_err(|failure| out_of_bounds(format!("`job.group`: {failure}")))?;
    }
    check_text("job.bucket", job.bucket.as_deref(), MAX_PATH)?;
    if let Some(bucket) = job.bucket.as_deref().filter(|bucket| !bucket.starts_with("s3://")) {
        check_path("job.bucket", bucket)?;
    }
    check_text("job.submission", job.submission.as_deref(), MAX_PATH)?;
    for (field, number) in [("job.dataset", job.dataset), ("job.datasets", job.datasets)] {
        if number > MAX_DATASETS {
            return Err(out_of_bounds(format!(
                "`{field}` is {number}: a submission has at most {MAX_DATASETS} datasets"
            )));
        }
    }
    Ok(())
}

/// Checks a name that becomes one component of a path or key.
fn check_name(field: &str, name: &str) -> Result<()> {
    let cause = if name.is_empty() {
        "is empty"
    } else if name.contains('/') || name == "." || name == ".." {
        "is not the name of a file"
    } else if field == "job.id" && name.starts_with('.') {
        "begins with `.`"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(out_of_bounds(format!("`{field}` {cause}: {}", text::quoted(name, SHOWN))))
}

/// Checks the name of a dataset or config of a bucket: a key, or an `s3://` path.
fn check_key(field: &str, name: &str) -> Result<()> {
    let key = name.strip_prefix("s3://").unwrap_or(name);
    let is_relative = key.strip_suffix('/').unwrap_or(key).split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_relative && !key.contains('\0') {
        return Ok(());
    }
    Err(out_of_bounds(format!("`{field}` is not a valid key: {}", text::quoted(name, SHOWN))))
}

fn check_text(field: &str, value: Option<&str>, limit: usize) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    if value.len() > limit {
        let shown = text::quoted(value, 60);
        return Err(out_of_bounds(format!("`{field}` is longer than {limit} bytes: {shown}")));
    }
    if value.contains('\0') {
        return Err(out_of_bounds(format!("`{field}` contains a NUL character")));
    }
    Ok(())
}

fn out_of_bounds(message: String) -> Failure {
    Failure::new(Kind::BadRecord, message)
}
