//! The files that `save` wrote for a job, for use when its container is gone: found by the job's record, or named by a
//! path.

use std::fs::File;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout::{LOG_SUFFIX, RECORD_SUFFIX};
use ncaas_core::record::Record;

use crate::job_files::JobFiles;
use crate::log::{Query, SavedLog};

/// A job's saved files.
#[derive(Debug)]
pub(crate) struct SavedFiles {
    pub(crate) log: SavedLogPath,
    /// None if the job was not followed to its end.
    pub(crate) record: Option<Record>,
}

/// The location of a saved log.
#[derive(Debug)]
pub(crate) enum SavedLogPath {
    /// A path that the user named.
    Named(PathBuf),
    /// In the job's folder, or the folder of containers' logs.
    InIoDir(JobFiles),
}

impl SavedLogPath {
    pub(crate) fn path(&self) -> &Path {
        match self {
            SavedLogPath::Named(path) => path,
            SavedLogPath::InIoDir(files) => &files.log,
        }
    }

    /// # Errors
    /// If it cannot be opened, or a link leads out of the io-dir.
    pub(crate) fn open(&self, query: Query) -> Result<SavedLog> {
        let path = self.path();
        let file = match self {
            SavedLogPath::Named(path) => File::open(path).doing("read", path)?,
            SavedLogPath::InIoDir(files) => {
                let folder = files.open()?;
                folder.open_file(folder.within(path))?.0
            }
        };
        Ok(SavedLog::new(file, path, query))
    }
}

impl SavedFiles {
    /// The files that an argument names: `<dataset>.log`, or `<dataset>.record.json` beside it. None if the argument is
    /// the name of a container, which is never a path.
    ///
    /// # Errors
    /// If the file does not exist, or has no record in it.
    pub(crate) fn from_argument(argument: &str) -> Result<Option<Self>> {
        let path = Path::new(argument);
        let has_suffix = argument.ends_with(LOG_SUFFIX) || argument.ends_with(RECORD_SUFFIX);
        let is_path = argument.contains('/') || (has_suffix && path.exists());
        if !is_path {
            return Ok(None);
        }
        if let Some(stem) = argument.strip_suffix(RECORD_SUFFIX) {
            return Ok(Some(SavedFiles {
                log: SavedLogPath::Named(format!("{stem}{LOG_SUFFIX}").into()),
                record: Some(read_record(path)?),
            }));
        }
        std::fs::metadata(path).doing("read", path)?;
        let stem = argument.strip_suffix(LOG_SUFFIX).unwrap_or(argument);
        Ok(Some(SavedFiles {
            log: SavedLogPath::Named(path.to_owned()),
            record: read_record(format!("{stem}{RECORD_SUFFIX}").as_ref()).ok(),
        }))
    }

    /// The files of a record's job or container, if its io-dir is on this machine.
    pub(crate) fn for_record(record: &Record) -> Option<Self> {
        let files = JobFiles::for_record(record).ok()?;
        let saved = files.saved_record();
        let wanted =
            record.container().map(|container| if container.id.is_empty() { container.name } else { container.id });
        let is_other = saved
            .as_ref()
            .and_then(Record::container)
            .is_some_and(|container| wanted.is_some_and(|wanted| wanted != container.id && wanted != container.name));
        if is_other { None } else { Some(SavedFiles { log: SavedLogPath::InIoDir(files), record: saved }) }
    }
}

/// Reads the records in a file: a saved record, or records one a line.
///
/// # Errors
/// If the file cannot be read, or has anything else in it.
pub(crate) fn read_records(path: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read(path).doing("read", path)?;
    if let Ok(record) = Record::parse(&text) {
        return Ok(vec![record]);
    }
    let lines = text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let records = lines.map(|(at, line)| {
        Record::parse(line).map_err(|failure| {
            let (path, line) = (path.display(), at + 1);
            Failure::new(Kind::BadRecord, format!("line {line} of `{path}` is not a record: {failure}"))
        })
    });
    records.collect()
}

/// Reads a saved record.
///
/// # Errors
/// If the file has no record.
pub(crate) fn read_record(path: &Path) -> Result<Record> {
    let line = std::fs::read(path).doing("read", path)?;
    Record::parse(&line)
        .map_err(|failure| Failure::new(Kind::BadRecord, format!("`{}` has no record: {failure}", path.display())))
}
