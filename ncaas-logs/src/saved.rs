//! What `save` has written of a job, for when its container has gone: found by the job's record, or named by a file.

use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::record::Record;

use crate::save::Places;
use crate::subject;

const LOG: &str = ".log";
const RECORD: &str = ".record.json";

/// A job's saved files.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) log: PathBuf,
    /// None where the job was not followed to its end.
    pub(crate) record: Option<Record>,
}

impl Saved {
    /// The files that an argument names: `<dataset>.log`, or `<dataset>.record.json` beside it. None where it names a
    /// container: no path is a container's name.
    ///
    /// # Errors
    /// Where there is no such file, or no record in it.
    pub(crate) fn named(argument: &str) -> Result<Option<Self>> {
        let path = Path::new(argument);
        let has_suffix = argument.ends_with(LOG) || argument.ends_with(RECORD);
        let is_path = argument.contains('/') || (has_suffix && path.exists());
        if !is_path {
            return Ok(None);
        }
        if let Some(stem) = argument.strip_suffix(RECORD) {
            return Ok(Some(Saved { log: format!("{stem}{LOG}").into(), record: Some(read(path)?) }));
        }
        std::fs::metadata(path).doing("read", path)?;
        let stem = argument.strip_suffix(LOG).unwrap_or(argument);
        Ok(Some(Saved { log: path.to_owned(), record: read(format!("{stem}{RECORD}").as_ref()).ok() }))
    }

    /// The files of a record's job or container, where its io-dir is on this machine.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let places = Places::of(record).ok()?;
        let saved = places.job.as_ref().map_or_else(|| places.saved(), |job| job.saved_record());
        let wanted = subject::container(record).ok();
        let is_other = saved
            .as_ref()
            .and_then(Record::container)
            .is_some_and(|container| wanted.is_some_and(|wanted| wanted != container.id && wanted != container.name));
        if is_other { None } else { Some(Saved { log: places.log, record: saved }) }
    }
}

/// A saved record.
///
/// # Errors
/// Where there is none in the file.
pub(crate) fn read(path: &Path) -> Result<Record> {
    let line = std::fs::read(path).doing("read", path)?;
    Record::parse(&line)
        .map_err(|failure| Failure::new(Kind::BadRecord, format!("`{}` holds no record: {failure}", path.display())))
}
