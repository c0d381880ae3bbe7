//! The saved records of jobs, `logs/<dataset label>.record.json`: in a job folder, in the io-dir, and in a bucket.

use std::path::{Path, PathBuf};

#[cfg(feature = "bucket")]
use crate::bucket::{Bucket, Key};
use crate::failure::{Failure, Kind, Result};
use crate::files;
use crate::io_dir::{default_io_dir, find_io_dirs};
use crate::layout::{LOG_SUFFIX, LOGS, RECORD_SUFFIX, RESULTS};
use crate::record::Record;
use crate::suggestion::nearest;

/// How many jobs of an io-dir are compared with a misspelt name.
const MOST_JOBS: usize = 1000;

/// The saved record that an argument names by a path: the record's file, or the log beside it. `None` if the argument
/// is the path of another file, or not a path.
pub fn named_file(argument: &str) -> Option<PathBuf> {
    let log = argument.strip_suffix(LOG_SUFFIX).map(|stem| format!("{stem}{RECORD_SUFFIX}"));
    let file = log.unwrap_or_else(|| argument.to_owned());
    let path = file.strip_prefix("./").unwrap_or(&file);
    (argument.contains('/') && file.ends_with(".json")).then(|| path.into())
}

/// Finds the saved record of an ended job whose container may be gone: by the path of the job folder, or in the default
/// io-dir by the job's id, the name of the container, or else the name of its dataset, of which it returns the newest.
///
/// # Errors
/// [`Kind::Usage`] if the job has several datasets.
pub fn find_saved(argument: &str) -> Result<Option<PathBuf>> {
    let is_name = !argument.contains('/') && !argument.starts_with('.');
    let io_dirs = if is_name { find_io_dirs(&default_io_dir()) } else { Vec::new() };
    let folders: Vec<PathBuf> = if is_name {
        io_dirs.iter().map(|io_dir| io_dir.join(RESULTS).join(argument)).collect()
    } else {
        vec![argument.into()]
    };
    let records: Vec<PathBuf> = folders.iter().flat_map(|folder| records_in_job_folder(folder)).collect();
    match records.as_slice() {
        [] => {}
        [record] => return Ok(Some(record.clone())),
        [first, ..] => {
            let message = format!("the job `{argument}` has several datasets");
            return Err(
                Failure::new(Kind::Usage, message).hint(format!("name a record, for example `{}`", first.display()))
            );
        }
    }
    // A container's name is made from the job's id.
    let of_container = |path: &PathBuf| {
        read_file(path).is_ok_and(|record| record.container().is_some_and(|container| container.name == argument))
    };
    let id = argument.rsplitn(3, '-').nth(2).filter(|_| is_name).unwrap_or_default();
    let folders = io_dirs.iter().filter(|_| !id.is_empty()).map(|io_dir| io_dir.join(RESULTS).join(id));
    if let Some(path) = folders.flat_map(|folder| records_in_job_folder(&folder)).find(of_container) {
        return Ok(Some(path));
    }
    let jobs = io_dirs.iter().flat_map(|io_dir| std::fs::read_dir(io_dir.join(RESULTS))).flatten().flatten();
    let records = jobs.map(|job| job.path().join(LOGS).join(format!("{argument}{RECORD_SUFFIX}")));
    let newest = records.filter_map(|record| Some((record.metadata().ok()?.modified().ok()?, record))).max();
    Ok(newest.map(|(_, record)| record))
}

/// The name of an ended job in the default io-dir, or of its dataset, that is most similar to a misspelt one.
pub fn find_similar(name: &str) -> Option<String> {
    let io_dirs = find_io_dirs(&default_io_dir());
    let jobs = io_dirs.iter().flat_map(|io_dir| std::fs::read_dir(io_dir.join(RESULTS))).flatten().flatten();
    let names = jobs.take(MOST_JOBS).flat_map(|job| {
        let records = records_in_job_folder(&job.path());
        let id = records.first().and_then(|_| job.file_name().into_string().ok());
        let labels = records.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(RECORD_SUFFIX));
        labels.map(str::to_owned).chain(id).collect::<Vec<_>>()
    });
    let names: Vec<String> = names.collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The saved records in a job folder, or in the `logs` folder of a job, in the order of their names.
pub fn records_in_job_folder(folder: &Path) -> Vec<PathBuf> {
    let mut records: Vec<PathBuf> = Vec::new();
    for folder in [&folder.join(LOGS), folder] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        records.extend(entries.filter(|path| path.to_string_lossy().ends_with(RECORD_SUFFIX)));
    }
    records.sort();
    records
}

/// Reads a saved record from its file.
///
/// # Errors
/// If the file cannot be read; [`Kind::BadRecord`] if it is not a record.
pub fn read_file(path: &Path) -> Result<Record> {
    let line = files::read_named(path)?;
    Record::parse(&line)
        .map_err(|failure| Failure::new(Kind::BadRecord, format!("`{}` has no record: {failure}", path.display())))
}

/// The keys of the saved records in the folder of a job in a bucket. `prefix` ends in `/`.
///
/// # Errors
/// If the bucket does not answer.
#[cfg(feature = "bucket")]
pub async fn list(bucket: &Bucket, prefix: &str) -> Result<Vec<Key>> {
    let logs = bucket.list_folder(&format!("{prefix}{LOGS}/"), None).entries().await?;
    Ok(logs.into_iter().map(|entry| entry.key).filter(|key| key.as_str().ends_with(RECORD_SUFFIX)).collect())
}

/// The saved record at a key. None if it does not exist or was not written by the tools.
///
/// # Errors
/// If the bucket does not answer.
#[cfg(feature = "bucket")]
pub async fn read(bucket: &Bucket, key: &Key) -> Result<Option<Record>> {
    use crate::failure::NoneIf;
    let limit = crate::record::MAX_LINE as u64;
    let content = bucket.read(key, limit).await.none_if(&[Kind::ObjectNotFound, Kind::TooLarge])?;
    Ok(content.and_then(|(line, _)| Record::parse(&line).ok()))
}
