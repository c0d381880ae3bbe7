//! A job's folders and files in an io-dir.

use std::path::{Path, PathBuf};

use cap_std::fs::{Permissions, PermissionsExt};

use super::dataset_labels::file_label;
use super::names::{
    LOG_SUFFIX, LOGS, MODE_PRIVATE, MODE_SHARED, PROCESS_RESULTS, RECORD_SUFFIX, RESULTS, RESULTS_SUFFIX, WORK,
    base_name, status_file_name,
};
use crate::failure::{Failure, Kind, Result};
use crate::folder::Folder;
use crate::io_dir::check_io_dir;
use crate::pipe::MAX_LINE;
use crate::record::Record;
use crate::record::fields::{Datasets, Job};
use crate::text;

/// A job's folders in an io-dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFolder {
    root: PathBuf,
    dataset: u64,
    label: String,
    attempt: Option<u64>,
}

impl JobFolder {
    /// The folders of a record's job.
    ///
    /// # Errors
    /// [`Kind::BadRecord`] where the record has no job or io-dir, or a job id that is no folder's name.
    pub fn for_record(record: &Record) -> Result<Self> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        JobFolder::new(record.require("io_dir")?, &job, record.dataname().as_ref())
    }

    fn new(io_dir: &str, job: &Job, dataname: Option<&Datasets>) -> Result<Self> {
        let is_folder_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.');
        if !is_folder_name(&job.id) {
            return Err(Failure::new(
                Kind::BadRecord,
                format!("the job's id `{}` is not a folder's name", text::one_line(&job.id)),
            ));
        }
        check_io_dir(io_dir)?;
        let label = match (&job.label, dataname) {
            (Some(label), _) => file_label(base_name(label)),
            (None, Some(Datasets::One(name))) => file_label(base_name(name)),
            _ => "submission".to_owned(),
        };
        if [".", ".."].contains(&label.as_str()) || label.contains('\0') {
            return Err(Failure::new(Kind::BadRecord, format!("the job's label `{label}` is not a file's name")));
        }
        Ok(JobFolder {
            root: Path::new(io_dir).join(RESULTS).join(&job.id),
            dataset: job.dataset,
            label,
            attempt: job.attempt,
        })
    }

    /// `results/<job id>`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The io-dir that it lies in.
    fn io_dir(&self) -> &Path {
        self.root.ancestors().nth(2).unwrap_or(&self.root)
    }

    /// Opens it, and makes it where it is not there. A development container has the whole io-dir, and may put links in the
    /// place of its folders: through what is opened here none leads out.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where a link leads out of the io-dir, or one of its own folders out of it.
    pub fn open(&self) -> Result<Folder> {
        let folder = Folder::make(self.io_dir())?;
        let folder = folder.below(folder.within(&self.root))?;
        for shared in [PROCESS_RESULTS, LOGS, WORK].map(Path::new) {
            match folder.open_below(shared) {
                Err(failure) if failure.kind != Kind::FileNotFound || folder.has(shared) => return Err(failure),
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Opens it, if it is there.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where a link leads out of the io-dir.
    pub fn open_existing(&self) -> Result<Option<Folder>> {
        let opened = Folder::open(self.io_dir()).and_then(|io_dir| io_dir.open_below(io_dir.within(&self.root)));
        match opened {
            Err(failure) if failure.kind == Kind::FileNotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Makes the folders that the job's container is to have mounted: open to whatever user that runs as, in a folder that is
    /// shut to the others of this machine.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where something else is in the place of one: the engine would follow it.
    pub fn make_work(&self) -> Result<()> {
        let folder = self.open()?;
        for (path, mode) in
            [(self.work(), MODE_PRIVATE), (self.work_results(), MODE_SHARED), (self.work_logs(), MODE_SHARED)]
        {
            let below = folder.within(&path);
            if !folder.has_folder(below)? {
                folder.make_below(below)?;
            }
            let made = folder.dir().set_permissions(below, Permissions::from_mode(mode));
            made.map_err(|error| folder.failure("set the permissions of", below, &error))?;
        }
        Ok(())
    }

    /// The folders that the job's container has mounted, of those that are there in the opened folder of the job.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] where something else is in the place of one: the engine would follow it.
    pub fn mounted(&self, folder: &Folder) -> Result<Vec<PathBuf>> {
        let mut there = Vec::new();
        for path in [self.work_results(), self.work_logs()] {
            if folder.has_folder(folder.within(&path))? {
                there.push(path);
            }
        }
        Ok(there)
    }

    /// What the names of this dataset's files are made of.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// `logs`, shared by the submission's datasets.
    pub fn logs(&self) -> PathBuf {
        self.root.join(LOGS)
    }

    /// `work/<dataset>`: this dataset's alone.
    pub fn work(&self) -> PathBuf {
        self.root.join(WORK).join(self.dataset.to_string())
    }

    /// Where this dataset's container writes its results.
    pub fn work_results(&self) -> PathBuf {
        self.work().join(RESULTS)
    }

    /// Where this dataset's container writes its logs.
    pub fn work_logs(&self) -> PathBuf {
        self.work().join(LOGS)
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

    /// The record that was saved when this job ended, if it did. Running a stage twice finds here what the first time
    /// came to, also after the container has gone.
    pub fn saved_record(&self) -> Option<Record> {
        let folder = self.open_existing().ok()??;
        self.own_record(&folder.read(folder.within(&self.record_file()), MAX_LINE as u64)?)
    }

    /// The record in a line that was saved for this job; none where an earlier attempt left it, for what that came to is
    /// not what this one comes to.
    pub fn own_record(&self, line: &[u8]) -> Option<Record> {
        Record::parse(line).ok().filter(|saved| saved.job().is_none_or(|job| job.attempt == self.attempt))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose folder cannot be made has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_earlier_attempt_does_not_count() {
        let io_dir = tempfile::tempdir().unwrap();
        let job = |attempt| Job { id: "job__pca_1".into(), attempt, ..Job::default() };
        let folder = |attempt| JobFolder::new(io_dir.path().to_str().unwrap(), &job(attempt), None).unwrap();
        let saved = Record::new(&crate::record::fields::Known { job: Some(job(None)), ..Default::default() });
        crate::files::write_whole(&folder(None).record_file(), &saved.to_line()).unwrap();
        assert!(folder(None).saved_record().is_some());
        assert!(folder(Some(2)).saved_record().is_none());
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
