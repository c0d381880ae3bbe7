//! What `save` has written of a job, for when its container has gone: found by the job's record, or named by a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::record::Record;

use crate::log::{Query, SavedLog};
use crate::save::Places;
use crate::subject;

const LOG: &str = ".log";
const RECORD: &str = ".record.json";

/// A job's saved files.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) log: LogPlace,
    /// None where the job was not followed to its end.
    pub(crate) record: Option<Record>,
}

/// Where a saved log lies.
#[derive(Debug)]
pub(crate) enum LogPlace {
    /// Where the user has said.
    Named(PathBuf),
    /// In its job's folder, or that of containers' logs.
    Of(Places),
}

impl LogPlace {
    pub(crate) fn path(&self) -> &Path {
        match self {
            LogPlace::Named(path) => path,
            LogPlace::Of(places) => &places.log,
        }
    }

    /// # Errors
    /// Where it cannot be opened, or a link leads out of the io-dir.
    pub(crate) fn open(&self, query: Query) -> Result<SavedLog> {
        let path = self.path();
        let file = match self {
            LogPlace::Named(path) => File::open(path).doing("read", path)?,
            LogPlace::Of(places) => {
                let folder = places.open()?;
                folder.open_file(folder.within(path))?.0
            }
        };
        Ok(SavedLog::new(file, path, query))
    }
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
            return Ok(Some(Saved { log: LogPlace::Named(format!("{stem}{LOG}").into()), record: Some(read(path)?) }));
        }
        std::fs::metadata(path).doing("read", path)?;
        let stem = argument.strip_suffix(LOG).unwrap_or(argument);
        Ok(Some(Saved { log: LogPlace::Named(path.to_owned()), record: read(format!("{stem}{RECORD}").as_ref()).ok() }))
    }

    /// The files of a record's job or container, where its io-dir is on this machine.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let places = Places::of(record).ok()?;
        let saved = places.saved();
        let wanted = subject::container(record).ok();
        let is_other = saved
            .as_ref()
            .and_then(Record::container)
            .is_some_and(|container| wanted.is_some_and(|wanted| wanted != container.id && wanted != container.name));
        if is_other { None } else { Some(Saved { log: LogPlace::Of(places), record: saved }) }
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
