//! A job's folders and files in an io-dir.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Permissions, PermissionsExt};
use jiff::Timestamp;

use super::dataset_labels::file_label;
use super::names::{
    CANCEL, INPUTS, LOG_SUFFIX, LOGS, MODE_PRIVATE, MODE_SHARED, PROCESS_RESULTS, RECORD_SUFFIX, RESULTS,
    RESULTS_SUFFIX, STATE_FOLDER, WORK, base_name, status_file_name,
};
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::files::lock_folder;
use crate::folder::{Folder, open_real_folder};
use crate::record::fields::{Datasets, Job};
use crate::record::{MAX_LINE, Record, check_io_dir};
use crate::text;

/// The depth to which empty folders are removed: a job may nest them without end.
const MAX_DEPTH: usize = 64;

/// A file in a work folder whose job another machine has ended: the attempt.
const SUPERSEDED: &str = "superseded";

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
    /// [`Kind::BadRecord`] if the record has no job or io-dir, or a job id that is not a valid folder name.
    pub fn for_record(record: &Record) -> Result<Self> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        JobFolder::new(record.require("io_dir")?, &job, record.dataname().as_ref())
    }

    fn new(io_dir: &str, job: &Job, dataname: Option<&Datasets>) -> Result<Self> {
        let is_folder_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.');
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
            attempt: job.attempt,
        })
    }

    /// `results/<job id>`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn io_dir(&self) -> &Path {
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

    /// Notes in its work folder, if that exists, that another machine has ended this attempt at the job: what was left here is
    /// not collected any more.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note_superseded(&self) -> Result<()> {
        let Some(root) = self.open_work_root()? else { return Ok(()) };
        let work = self.work();
        let work = root.relative(&work);
        let exists = root.has_folder(work)?;
        if exists { root.write_whole(&work.join(SUPERSEDED), self.attempt_text().as_bytes()) } else { Ok(()) }
    }

    /// Whether another machine has ended this attempt at the job.
    pub fn is_superseded(&self) -> bool {
        let attempt = self.attempt_text();
        let root = self.open_work_root().ok().flatten();
        let read = root.and_then(|root| root.read(&root.relative(&self.work()).join(SUPERSEDED), attempt.len() as u64));
        read.is_some_and(|read| read == attempt.as_bytes())
    }

    fn attempt_text(&self) -> String {
        self.attempt.unwrap_or(1).to_string()
    }

    fn cancellation_note(&self) -> String {
        format!("{{\"attempt\":{}}}\n", self.attempt_text())
    }

    /// Opens it, if it exists.
    pub(crate) fn open_existing(&self) -> Result<Option<Folder>> {
        self.open_in_io_dir(&self.root)
    }

    /// Opens [`work_root`](Self::work_root), if it exists.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if a link leads out of the io-dir.
    pub fn open_work_root(&self) -> Result<Option<Folder>> {
        self.open_in_io_dir(&self.work_root())
    }

    /// Opens [`work_root`](Self::work_root), and makes it if it does not exist.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if a link leads out of the io-dir.
    pub fn make_work_root(&self) -> Result<Folder> {
        let io_dir = Folder::create(self.io_dir())?;
        let root = self.work_root();
        let folder = io_dir.open_or_create(io_dir.relative(&root))?;
        let private = io_dir.dir().set_permissions(STATE_FOLDER, Permissions::from_mode(MODE_PRIVATE));
        private.map_err(|error| io_dir.failure("set the permissions of", Path::new(STATE_FOLDER), &error))?;
        Ok(folder)
    }

    fn open_in_io_dir(&self, path: &Path) -> Result<Option<Folder>> {
        let opened = Folder::open(self.io_dir()).and_then(|io_dir| io_dir.open_below(io_dir.relative(path)));
        opened.none_if(&[Kind::FileNotFound])
    }

    /// Makes the folders that are mounted in the job's container. They are writable for every user, because the container's
    /// user is not known, below a folder that only the user of this machine can enter.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if something else is in the place of one: the engine would follow it.
    pub fn make_work(&self) -> Result<()> {
        self.open()?;
        let root = self.make_work_root()?;
        for (path, mode) in
            [(self.work(), MODE_PRIVATE), (self.work_results(), MODE_SHARED), (self.work_logs(), MODE_SHARED)]
        {
            let below = root.relative(&path);
            if !root.has_folder(below)? {
                root.create_folder(below)?;
            }
            let made = root.dir().set_permissions(below, Permissions::from_mode(mode));
            made.map_err(|error| root.failure("set the permissions of", below, &error))?;
        }
        Ok(())
    }

    /// Moves the files that an earlier run of this dataset has left in the folders of [`Self::make_work`], which are empty then.
    /// Its container was removed before they were collected. The folder to which they were moved; none if there are none.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if something else is in the place of a folder; a file system that refuses.
    pub fn set_aside_earlier_files(&self) -> Result<Option<PathBuf>> {
        let root = self.make_work_root()?;
        let aside = self.work().join(format!("earlier-{}", Timestamp::now().as_millisecond()));
        let mut has_moved = false;
        for path in [self.work_results(), self.work_logs()] {
            let (from, to) = (root.relative(&path), root.relative(&aside));
            let mut entries = open_real_folder(root.dir(), from)
                .and_then(|folder| folder.entries())
                .map_err(|error| root.path_failure("list", from, &error))?;
            if entries.next().is_some() {
                root.create_folder(to)?;
                let moved = root.dir().rename(from, root.dir(), to.join(path.file_name().unwrap_or_default()));
                moved.map_err(|error| root.path_failure("move", from, &error))?;
                has_moved = true;
            }
        }
        if has_moved {
            self.make_work()?;
        }
        Ok(has_moved.then_some(aside))
    }

    /// The existing folders that are mounted in the job's container.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`] if something else is in the place of one: the engine would follow it.
    pub fn mounted(&self) -> Result<Vec<PathBuf>> {
        let mut existing = Vec::new();
        if let Some(root) = self.open_work_root()? {
            for path in [self.work_results(), self.work_logs()] {
                if root.has_folder(root.relative(&path))? {
                    existing.push(path);
                }
            }
        }
        Ok(existing)
    }

    /// Removes the copies and links of inputs that were made for this dataset's container.
    pub fn remove_staged_inputs(&self) {
        if let Ok(Some(root)) = self.open_work_root() {
            let staged = self.work_inputs();
            // Fails if there are none, or a container that still runs uses them.
            let _ = root.dir().remove_dir_all(root.relative(&staged));
        }
    }

    /// Locks this dataset's work folder between processes until the file is dropped. `None` if the folder does not exist, or
    /// if the file system cannot lock folders (NFS).
    ///
    /// A run of the job holds the lock from making the folder until the container is started. Whoever removes container and
    /// folder holds it meanwhile: otherwise the next run of the job could start in the folder that is being removed.
    pub async fn lock_work(&self) -> Option<File> {
        let work = self.work();
        loop {
            let lock = lock_folder(work.clone()).await?;
            let (locked, current) = (lock.metadata().ok()?, work.metadata().ok()?);
            // The process that had the lock may have removed this folder, and another one may have made it again.
            if (locked.dev(), locked.ino()) == (current.dev(), current.ino()) {
                return Some(lock);
            }
        }
    }

    /// Removes this dataset's work folder after its container was removed: the staged inputs, and the folders that are
    /// empty. Files that were not collected stay, unless `discard` is set.
    ///
    /// While the container exists, its mounts have to exist too: otherwise the engine neither starts it nor reads files
    /// in it, and a job that runs loses its results. The caller makes sure of that.
    pub fn remove_work(&self, discard: bool) {
        self.remove_staged_inputs();
        let Ok(Some(root)) = self.open_work_root() else { return };
        let work = self.work();
        let work = root.relative(&work);
        if discard {
            let _ = root.dir().remove_dir_all(work);
        } else {
            let _ = root.dir().remove_file(work.join(SUPERSEDED));
            if let Ok(dir) = root.dir().open_dir(work) {
                remove_empty_folders(&dir, MAX_DEPTH);
            }
            let _ = root.dir().remove_dir(work);
        }
        // Fails while other datasets of the job have work folders.
        let _ = std::fs::remove_dir(self.work_root());
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

    /// `.ncaas/work/<job id>`: the folders that are mounted in the job's containers. No container can write in a folder
    /// above them: `ncaas-exec start` mounts the other folders of the io-dir one by one.
    pub fn work_root(&self) -> PathBuf {
        self.io_dir().join(WORK).join(self.root.file_name().unwrap_or_default())
    }

    /// The folder of this dataset in [`work_root`](Self::work_root).
    pub fn work(&self) -> PathBuf {
        self.work_root().join(self.dataset.to_string())
    }

    /// The folder that this dataset's container writes its results to.
    pub fn work_results(&self) -> PathBuf {
        self.work().join(RESULTS)
    }

    /// The folder that this dataset's container writes its logs to.
    pub fn work_logs(&self) -> PathBuf {
        self.work().join(LOGS)
    }

    /// The folder with links to, and copies of, this dataset's inputs that are not mounted in place.
    pub fn work_inputs(&self) -> PathBuf {
        self.work().join(INPUTS)
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
        let line = folder.read(folder.relative(&self.record_file()), MAX_LINE as u64)?;
        Record::parse(&line).ok().filter(|saved| self.is_of_this_attempt(saved))
    }

    /// Whether a record that was saved for this job is not from an earlier attempt.
    pub fn is_of_this_attempt(&self, saved: &Record) -> bool {
        saved.job().is_none_or(|job| job.attempt == self.attempt)
    }
}

/// Removes the empty folders in a folder, down to `levels` below its own. Folders that are not empty are kept.
fn remove_empty_folders(dir: &Dir, levels: usize) {
    for entry in dir.entries().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if levels > 0
                && let Ok(below) = open_real_folder(dir, entry.file_name())
            {
                remove_empty_folders(&below, levels - 1);
            }
            let _ = dir.remove_dir(entry.file_name());
        }
    }
}

/// Removes the datasets' folders in the work folder of an ended job: their staged inputs, and the folders that are empty.
pub fn remove_ended_work(job: &Dir) {
    for dataset in job.entries().into_iter().flatten().flatten() {
        if let Ok(folder) = open_real_folder(job, dataset.file_name()) {
            // Copies and links that the tools have made. Fails if there are none.
            let _ = folder.remove_dir_all(INPUTS);
        }
    }
    remove_empty_folders(job, MAX_DEPTH);
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
