//! A job's folders and files in an io-dir.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::dataset_labels::file_label;
use super::names::{
    CANCEL, LOG_SUFFIX, LOGS, PROCESS_RESULTS, RECORD_SUFFIX, RESULTS, RESULTS_SUFFIX, base_name, status_file_name,
};
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::folder::Folder;
use crate::record::fields::{Datasets, Job};
use crate::record::{MAX_LINE, Record, check_io_dir};
use crate::text;

/// A job's folders in an io-dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFolder {
    root: PathBuf,
    dataset: u64,
    label: String,
    /// The number of the attempt, from 1.
    attempt: u64,
}

impl JobFolder {
    /// The folders of a record's job.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] if the record has no job or io-dir, or a job id that is not a valid folder name.
    pub fn for_record(record: &Record) -> Result<Self> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        JobFolder::new(record.require("io_dir")?, &job, record.dataname().as_ref())
    }

    fn new(io_dir: &str, job: &Job, dataname: Option<&Datasets>) -> Result<Self> {
        let is_plain = |name: &str| !name.contains('/') && !name.chars().any(char::is_control);
        let is_folder_name = |name: &str| !name.is_empty() && is_plain(name) && !name.starts_with('.');
        if !is_folder_name(&job.id) {
            return Err(Failure::new(
                Kind::BadRecord,
                format!("the job id `{}` is not a valid folder name", text::one_line(&job.id)),
            ));
        }
        check_io_dir(io_dir)?;
        let label = match (&job.label, dataname) {
            (Some(label), _) => file_label(base_name(label)),
            (None, Some(Datasets::One(name))) => file_label(base_name(name)),
            _ => "submission".to_owned(),
        };
        if [".", ".."].contains(&label.as_str()) || label.contains('\0') {
            return Err(Failure::new(Kind::BadRecord, format!("the dataset label `{label}` is not a valid file name")));
        }
        Ok(JobFolder {
            root: Path::new(io_dir).join(RESULTS).join(&job.id),
            dataset: job.dataset,
            label,
            attempt: job.attempt_number(),
        })
    }

    /// `results/<job id>`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn io_dir(&self) -> &Path {
        self.root.ancestors().nth(2).unwrap_or(&self.root)
    }

    /// Opens it, and makes it if it does not exist. A development container can replace its folders by links: nothing
    /// opened here follows a link out of the io-dir.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if a link leads out of the io-dir, or one of the job's own folders out of the job's.
    pub fn open(&self) -> Result<Folder> {
        let folder = Folder::create(self.io_dir())?;
        let folder = folder.open_or_create(folder.relative(&self.root))?;
        for shared in [PROCESS_RESULTS, LOGS].map(Path::new) {
            let opened = folder.open_below(shared).none_if(&[Kind::FileNotFound])?;
            if opened.is_none() && folder.has(shared) {
                // Another stage has made it meanwhile, or it is a broken link.
                folder.open_below(shared)?;
            }
        }
        Ok(folder)
    }

    /// Notes that the submission is cancelled, for stages that do not see the bucket.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn note_cancellation(&self) -> Result<()> {
        self.open()?.write_whole(Path::new(CANCEL), self.cancellation_note().as_bytes())
    }

    /// Whether it is noted that this attempt at the job is cancelled.
    pub fn is_cancelled(&self) -> bool {
        let note = self.cancellation_note();
        let folder = self.open_existing().ok().flatten();
        folder
            .and_then(|folder| folder.read(Path::new(CANCEL), note.len() as u64))
            .is_some_and(|read| read == note.as_bytes())
    }

    /// The number of the attempt, from 1.
    pub(super) fn attempt_text(&self) -> String {
        self.attempt.to_string()
    }

    fn cancellation_note(&self) -> String {
        format!("{{\"attempt\":{}}}\n", self.attempt_text())
    }

    /// Opens it, if it exists.
    pub(crate) fn open_existing(&self) -> Result<Option<Folder>> {
        self.open_in_io_dir(&self.root)
    }

    pub(super) fn open_in_io_dir(&self, path: &Path) -> Result<Option<Folder>> {
        let opened = Folder::open(self.io_dir()).and_then(|io_dir| io_dir.open_below(io_dir.relative(path)));
        opened.none_if(&[Kind::FileNotFound])
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        self.root.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// The number of the dataset in its submission.
    pub fn dataset(&self) -> u64 {
        self.dataset
    }

    /// The dataset label in the names of its files.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// `logs`, shared by the submission's datasets.
    pub fn logs(&self) -> PathBuf {
        self.root.join(LOGS)
    }

    /// `DATASET_NAME:<label>_STATUS.txt`.
    pub fn status_file(&self) -> PathBuf {
        self.logs().join(status_file_name(&self.label))
    }

    /// `<label>.log`.
    pub fn log_file(&self) -> PathBuf {
        self.logs().join(format!("{}{LOG_SUFFIX}", self.label))
    }

    /// `<label>.record.json`: the whole record of an ended job.
    pub fn record_file(&self) -> PathBuf {
        self.logs().join(format!("{}{RECORD_SUFFIX}", self.label))
    }

    /// `<label>.results.jsonl`: the results of a job that made more than a record can list.
    pub fn results_file(&self) -> PathBuf {
        self.logs().join(format!("{}{RESULTS_SUFFIX}", self.label))
    }

    /// The record that was saved when this job ended. A stage that runs again finds the result of its first run here,
    /// even after the container was removed.
    pub fn saved_record(&self) -> Option<Record> {
        self.saved_record_in(&self.open_existing().ok()??)
    }

    /// Same as [`Self::saved_record`], in the job's open folder.
    pub fn saved_record_in(&self, folder: &Folder) -> Option<Record> {
        self.read_record(folder).filter(|saved| self.is_of_this_attempt(saved))
    }

    /// The saved record of this or another attempt.
    fn read_record(&self, folder: &Folder) -> Option<Record> {
        Record::parse(&folder.read(folder.relative(&self.record_file()), MAX_LINE as u64)?).ok()
    }

    /// Makes sure that no later attempt at the job is saved, for a stage that is about to write into its open folder.
    ///
    /// # Errors
    /// [`Kind::Superseded`].
    pub fn check_attempt(&self, folder: &Folder) -> Result<()> {
        let saved = self.read_record(folder).and_then(|saved| saved.job());
        if saved.is_none_or(|saved| saved.attempt_number() <= self.attempt) {
            return Ok(());
        }
        let message = format!("a later attempt at `{}` is saved in `{}`", self.label, self.root.display());
        Err(Failure::new(Kind::Superseded, message)
            .hint("`ncaas-sync diff CONTAINER` lists the files of the earlier attempt, and `docker cp` copies them"))
    }

    /// Whether a record that was saved for this job is not from an earlier attempt.
    pub fn is_of_this_attempt(&self, saved: &Record) -> bool {
        saved.job().is_none_or(|job| job.attempt_number() == self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_earlier_attempt_does_not_count() {
        let io_dir = tempfile::tempdir().unwrap();
        let job = |attempt| Job { id: "job__pca_1".into(), attempt, ..Job::default() };
        let folder = |attempt| JobFolder::new(io_dir.path().to_str().unwrap(), &job(attempt), None).unwrap();
        let saved = Record::new(&crate::record::fields::RecordFields { job: Some(job(None)), ..Default::default() });
        crate::files::write_whole(&folder(None).record_file(), &saved.to_line()).unwrap();
        assert!(folder(None).saved_record().is_some());
        assert!(folder(Some(2)).saved_record().is_none());
    }

    #[test]
    fn a_job_folder_is_opened_while_another_stage_makes_its_folders() {
        let io_dir = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            let job = Job { id: format!("job__pca_{number}"), ..Job::default() };
            let folder = JobFolder::new(io_dir.path().to_str().unwrap(), &job, None).unwrap();
            std::fs::create_dir_all(folder.root()).unwrap();
            let begin = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begin.wait();
                    std::fs::create_dir(folder.root().join(PROCESS_RESULTS)).unwrap();
                });
                begin.wait();
                folder.open().map(|_| ()).unwrap();
            });
        }
    }

    #[test]
    fn a_job_cannot_name_a_folder_outside_the_results() {
        let job =
            |id: &str, label: Option<&str>| Job { id: id.into(), label: label.map(str::to_owned), ..Job::default() };
        let refused = [job("..", None), job("a/b", None), job("", None), job("j", Some("..")), job("j", Some("a/.."))];
        for job in refused {
            assert_eq!(JobFolder::new("/d", &job, None).unwrap_err().kind, Kind::BadRecord, "{job:?}");
        }
        for io_dir in ["d", "/d/../e"] {
            assert_eq!(JobFolder::new(io_dir, &job("j", None), None).unwrap_err().kind, Kind::BadRecord, "{io_dir}");
        }
    }
}
