//! The files that `save` wrote for a job, for use when its container is gone: found by the job's record, or named by a
//! path.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ncaas_core::certificate::DatasetStatus;
use ncaas_core::engine::container;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::failure_cause::find_cause;
use ncaas_core::files;
use ncaas_core::layout::{LOG_SUFFIX, RECORD_SUFFIX, STATUS_SUFFIX};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Datasets, Job, RecordFields, Status};
use ncaas_core::saved_record;
use ncaas_core::status_file::ReadStatus;
use ncaas_core::suggestion::suggest_file;
use ncaas_core::text::strip_control;
use ncaas_core::tool::Tool;

use crate::job_files::JobFiles;
use crate::log::{LogTime, Query, SavedLog, last_state};

/// A job's saved files.
#[derive(Debug)]
pub(crate) struct SavedFiles {
    /// The path of the record, whether it is saved there or not; a status file stands for its record.
    pub(crate) path: PathBuf,
    pub(crate) log: SavedLogPath,
    /// None if the job was not followed to its end.
    pub(crate) record: Option<Record>,
}

#[derive(Debug)]
pub(crate) enum SavedLogPath {
    /// A path that the user named.
    Named(PathBuf),
    /// In the job's folder, or the folder of containers' logs.
    InIoDir(JobFiles),
    /// In a status file: there is no other log.
    InStatus(PathBuf, ReadStatus),
}

impl SavedLogPath {
    pub(crate) fn path(&self) -> &Path {
        match self {
            SavedLogPath::Named(path) | SavedLogPath::InStatus(path, _) => path,
            SavedLogPath::InIoDir(files) => &files.log,
        }
    }

    pub(crate) fn open(&self, query: Query) -> Result<SavedLog> {
        Ok(SavedLog::new(self.open_file()?, self.path(), query))
    }

    fn open_file(&self) -> Result<File> {
        let path = self.path();
        Ok(match self {
            SavedLogPath::Named(path) => File::open(path).doing("read", path)?,
            SavedLogPath::InStatus(_, status) => log_of_status(status)?,
            SavedLogPath::InIoDir(files) => {
                let folder = files.open()?;
                folder.open_file(folder.relative(path))?.0
            }
        })
    }
}

#[derive(Debug)]
pub(crate) struct SavedLine {
    pub(crate) is_stderr: bool,
    pub(crate) text: String,
}

/// The line that most likely says why a job failed.
pub(crate) fn find_cause_in(lines: &[SavedLine]) -> Option<String> {
    let newest_first = || lines.iter().rev();
    let errors = newest_first().filter(|line| line.is_stderr).map(|line| line.text.as_str());
    find_cause(errors).or_else(|| find_cause(newest_first().map(|line| line.text.as_str())))
}

/// How many of a failed job's last lines are shown, and searched for the cause.
pub(crate) const LAST_LINES: usize = 20;

/// How much of the end of a saved log is read for its last lines, in bytes.
const LOG_END: u64 = 64 << 10;

impl SavedFiles {
    /// The files of the job with a saved record.
    fn of_record(path: &Path, record: Option<Record>) -> Self {
        let name = path.to_string_lossy();
        let stem = name.strip_suffix(RECORD_SUFFIX).unwrap_or(&name);
        SavedFiles { path: path.to_owned(), log: SavedLogPath::Named(format!("{stem}{LOG_SUFFIX}").into()), record }
    }

    /// The files beside a saved record; none if the path is not that of one.
    pub(crate) fn beside_record(path: &Path) -> Option<Self> {
        path.to_str()?.ends_with(RECORD_SUFFIX).then(|| Self::of_record(path, None))
    }

    /// Whether there is a record or a log.
    pub(crate) fn exist(&self) -> bool {
        self.record.is_some() || self.log.path().exists()
    }

    /// The line of a failed job's output that most likely says why it failed.
    pub(crate) fn find_cause(&self) -> Option<String> {
        find_cause_in(&self.last_lines())
    }

    /// The last lines of the log, without control sequences; none if it cannot be read.
    pub(crate) fn last_lines(&self) -> Vec<SavedLine> {
        let Ok(mut file) = self.log.open_file() else { return Vec::new() };
        let length = file.seek(SeekFrom::End(0)).unwrap_or_default();
        let start = length.saturating_sub(LOG_END);
        let mut end = Vec::new();
        if file.seek(SeekFrom::Start(start)).and_then(|_| file.take(LOG_END).read_to_end(&mut end)).is_err() {
            return Vec::new();
        }
        let mut lines = end.split(|&byte| byte == b'\n').map(String::from_utf8_lossy);
        if start > 0 {
            lines.next();
        }
        let lines = lines.filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let (_, stream, text) = (words.next()?, words.next()?, words.next()?);
            let text = String::from_utf8_lossy(last_state(text.as_bytes()));
            Some(SavedLine { is_stderr: stream == "stderr", text: strip_control(&text).into_owned() })
        });
        let mut lines: Vec<SavedLine> = lines.collect();
        lines.split_off(lines.len().saturating_sub(LAST_LINES))
    }

    /// The files that a path names: `<dataset>.log`, `<dataset>.record.json`, a status file, or the folder of a job
    /// with one dataset. None if the argument is not a path, or the folder has no saved record.
    pub(crate) fn from_path(argument: &str) -> Result<Option<Self>> {
        if !argument.contains('/') {
            return Ok(None);
        }
        let path = Path::new(argument.strip_prefix("./").unwrap_or(argument));
        if path.is_dir() {
            return Self::of_ended_job(argument);
        }
        if argument.ends_with(STATUS_SUFFIX) {
            let content = files::read_named(path)?;
            let status = ReadStatus::parse(&content).ok_or_else(|| {
                Failure::new(Kind::BadRecord, format!("`{argument}` is not a status file of NeuroCAAS"))
            })?;
            let record = Some(record_from_status(path, &status));
            return Ok(Some(SavedFiles {
                path: path.to_owned(),
                log: SavedLogPath::InStatus(path.to_owned(), status),
                record,
            }));
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(Some(Self::of_record(path, Some(saved_record::read_file(path)?))));
        }
        std::fs::metadata(path).doing("read", path).map_err(|failure| suggest_file(failure, path))?;
        let record_path = saved_record::named_file(argument).unwrap_or_else(|| path.to_owned());
        let record = saved_record::read_file(&record_path).ok();
        Ok(Some(SavedFiles { path: record_path, log: SavedLogPath::Named(path.to_owned()), record }))
    }

    /// The files of an ended job, by its folder, its id or its dataset; none if no record is saved.
    fn of_ended_job(argument: &str) -> Result<Option<Self>> {
        let Some(path) = saved_record::find_saved(argument)? else { return Ok(None) };
        Ok(Some(Self::of_record(&path, Some(saved_record::read_file(&path)?))))
    }

    /// The files of a record's job or container, if its io-dir is on this machine. A record made from an argument may
    /// name a job in the default io-dir.
    pub(crate) fn for_record(record: &Record) -> Option<Self> {
        if record.has_only_container() {
            return Self::of_ended_job(&record.container_reference()?).ok()?;
        }
        let files = JobFiles::for_record(record).ok()?;
        let saved = files.saved_record();
        let wanted = record.container_reference();
        let is_other = saved
            .as_ref()
            .and_then(Record::container)
            .is_some_and(|container| wanted.is_some_and(|wanted| wanted != container.id && wanted != container.name));
        let path = files.record.clone();
        if is_other { None } else { Some(SavedFiles { path, log: SavedLogPath::InIoDir(files), record: saved }) }
    }
}

/// The files that arguments name, with the saved records of a job in place of its folder.
///
/// # Errors
/// If no file is left: folders without a saved record are left out with a note.
pub(crate) fn expand_job_folders(tool: Tool, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (mut expanded, mut empty) = (Vec::new(), Vec::new());
    for path in files {
        let records = if path.is_dir() { saved_record::records_in_job_folder(path) } else { vec![path.clone()] };
        if records.is_empty() {
            empty.push(path);
        }
        expanded.extend(records);
    }
    if let Some(first) = empty.first() {
        let message =
            format!("no record is saved in {}, such as `{}`", format_count(empty.len(), "folder"), first.display());
        let hint = "`ncaas-logs save` saves the record of a job when it ends";
        if expanded.is_empty() {
            return Err(Failure::new(Kind::FileNotFound, message).hint(hint));
        }
        tool.note(&format!("{message}: left out"));
    }
    Ok(expanded)
}

/// Reads the records in a file: a saved record, records one a line, or a status file.
pub(crate) fn read_records(path: &Path) -> Result<Vec<Record>> {
    let text = files::read_named(path)?;
    if let Some(status) = ReadStatus::parse(&text) {
        return Ok(vec![record_from_status(path, &status)]);
    }
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

/// The output in a status file in the form of a saved log. Its lines have no times: they get that of the start.
fn log_of_status(status: &ReadStatus) -> Result<File> {
    let start = status.started_at.map_or(LogTime::MIN, LogTime::at);
    let text: String = status.output.iter().map(|line| format!("{} stdout {line}\n", start.as_str())).collect();
    let failed = |error: std::io::Error| Failure::new(Kind::Io, format!("cannot write a temporary file: {error}"));
    let mut file = tempfile::tempfile().map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).map_err(failed)?;
    Ok(file)
}

/// Makes a record from a status file of the platform, which saves no records.
fn record_from_status(path: &Path, status: &ReadStatus) -> Record {
    let code = status.reason.as_i64();
    let ended = match status.status {
        DatasetStatus::Success => Some(Status::Success),
        // The platform does not tell memory from other causes.
        DatasetStatus::Failed => {
            let code = code.filter(|&code| code != 0);
            Some(code.map_or(Status::Failed, |code| container::status_of_exit(code, false, false)))
        }
        DatasetStatus::Initializing | DatasetStatus::InProgress => None,
    };
    let state = match status.status {
        DatasetStatus::Initializing => "created",
        DatasetStatus::InProgress => "running",
        DatasetStatus::Success | DatasetStatus::Failed => "exited",
    };
    let duration =
        status.finished_at.zip(status.started_at).map(|(end, start)| end.duration_since(start).as_secs_f64());
    let container = Container {
        id: status.instance.clone().unwrap_or_default(),
        state: state.to_owned(),
        status: ended,
        exit_code: code.filter(|_| ended.is_some()),
        started_at: status.started_at.map(|time| time.to_string()),
        finished_at: status.finished_at.map(|time| time.to_string()).filter(|_| ended.is_some()),
        duration_s: duration.filter(|_| ended.is_some()),
        ..Container::default()
    };
    // `<job id>/logs/DATASET_NAME:..._STATUS.txt`
    let job_id = path.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    let job = job_id.filter(|id| id.starts_with("job__"));
    let mut record = Record::new(&RecordFields {
        job: job.map(|id| Job { id: id.to_owned(), dataset: 1, datasets: 1, ..Job::default() }),
        dataname: status.input.clone().map(Datasets::One),
        container: Some(container),
        ..RecordFields::default()
    });
    if let Some(reason) = status.reason.as_str() {
        record.warn(reason);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_of_the_platform_can_replace_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("results/job__pca_1/logs");
        std::fs::create_dir_all(&logs).unwrap();
        let path = logs.join("DATASET_NAME:a.npy_STATUS.txt");
        let status = r#"{"instance":"i-0a","input":"lab/inputs/a.npy","status":"FAILED","reason":1,
            "job_start":"2026-11-22T10:00:00Z","job_finish":"2026-11-22T10:00:09Z","std":{"0":"x\n"}}"#;
        std::fs::write(&path, status).unwrap();
        let record = read_records(&path).unwrap().remove(0);
        let container = record.container().unwrap();
        assert_eq!((record.job().unwrap().id.as_str(), container.status), ("job__pca_1", Some(Status::Failed)));
        assert_eq!((container.exit_code, container.duration_s), (Some(1), Some(9.0)));
    }

    #[test]
    fn the_last_lines_of_a_long_log_are_read_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("a.npy.record.json");
        let time = "2026-11-22T10:24:55.517032643Z";
        let mut log: String = (0..10_000).map(|number| format!("{time} stdout line {number}\n")).collect();
        log.push_str(&format!("{time} stderr 10 %\r\u{1b}[31mValueError: x\u{1b}[0m\n"));
        std::fs::write(folder.path().join("a.npy.log"), log).unwrap();
        let lines = SavedFiles::beside_record(&record).unwrap().last_lines().split_off(LAST_LINES - 2);
        assert_eq!((lines[0].text.as_str(), lines[0].is_stderr), ("line 9999", false));
        assert_eq!((lines[1].text.as_str(), lines[1].is_stderr), ("ValueError: x", true));
    }
}
