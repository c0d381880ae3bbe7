//! Where things lie: the same names in a bucket's group and in an io-dir, and a job's own folders beside them.
//!
//! ```text
//! inputs/  configs/  submissions/
//! results/<job id>/
//!   process_results/         what the analysis produced; the config; end.txt, last
//!   logs/                    certificate.txt, DATASET_NAME:<label>_STATUS.txt, <label>.log, <label>.record.json,
//!                            <label>.results.jsonl where those are too many for the record
//!   work/<dataset>/results/  where that dataset's container writes, until collect has brought it together (io-dir only)
//!   work/<dataset>/logs/
//! ```

use std::path::{Path, PathBuf};

use cap_std::fs::{Permissions, PermissionsExt};
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Kind, Result};
use crate::folder::Folder;
use crate::pipe::MAX_LINE;
use crate::record::Record;
use crate::record::fields::{Datasets, Job};

/// Datasets.
pub const INPUTS: &str = "inputs";
/// Configuration files.
pub const CONFIGS: &str = "configs";
/// Submit files.
pub const SUBMISSIONS: &str = "submissions";
/// A folder for each job.
pub const RESULTS: &str = "results";
/// In a job's folder: certificate, status files, logs.
pub const LOGS: &str = "logs";
/// In a job's folder: what the analysis produced.
pub const PROCESS_RESULTS: &str = "process_results";
/// In a job's folder in an io-dir: what its containers write, a folder for each dataset.
pub const WORK: &str = "work";
/// Modes of the folders that a container writes to, whatever user it runs as, and of those above them, which keep
/// everybody else of this machine out.
pub const MODE_SHARED: u32 = 0o777;
/// See [`MODE_SHARED`].
pub const MODE_PRIVATE: u32 = 0o700;
/// What the platform's pollers wait for in `process_results`.
pub const END_FILE: &str = "end.txt";
/// How a submit file's name ends.
pub const SUBMIT_SUFFIX: &str = "submit.json";
/// The certificate's file name.
pub const CERTIFICATE: &str = "certificate.txt";
/// In a job's folder in a bucket: which watcher has handed the submission on. Where it is gone, and `end.txt` is not
/// there, the submission is taken up again.
pub const CLAIM: &str = "claim.json";
/// In a job's folder in a bucket: that the submission's jobs are not to start, and those that run are to stop.
pub const CANCEL: &str = "cancel.json";
/// At a bucket's root: what the watchers of the bucket tell one another, and try out. No group has this name.
pub const STATE_FOLDER: &str = ".ncaas";
/// In [`STATE_FOLDER`]: a watcher's word that it lives.
pub const WATCHERS: &str = ".ncaas/watchers/";
/// The io-dir in a container, where neither an image label nor a flag says otherwise.
pub const CONTAINER_IO_DIR: &str = "/home/neurocaasdev/io-dir";

/// How long the part of a file's name may be that comes from a dataset's name, in bytes: a file system's 255, less
/// what is put around it.
const LABEL_MAX: usize = 200;

/// `job__<analysis>_<timestamp>`.
///
/// # Errors
/// [`Kind::BadSubmission`] where that cannot be a folder's name.
pub fn job_id(analysis: &str, timestamp: &str) -> Result<String> {
    let bad =
        |why: &str| Err(Failure::new(Kind::BadSubmission, format!("`timestamp` {why}: `{}`", shorten(timestamp, 60))));
    if timestamp.is_empty() {
        return bad("is empty");
    }
    if timestamp.contains('/') || timestamp.chars().any(char::is_control) {
        return bad("has a character that cannot be in a folder's name");
    }
    let id = format!("job__{analysis}_{timestamp}");
    if id.len() > LABEL_MAX { bad("is too long") } else { Ok(id) }
}

/// A job's folder in a bucket, `<group>/results/<job id>/`, as the beginning of its keys.
pub fn job_prefix(group: &str, job_id: &str) -> String {
    format!("{group}/{RESULTS}/{job_id}/")
}

/// The analysis that an image holds: `pca` for `neurocaas/contrib:pca.356d78a`, else the repository's last part.
pub fn analysis_of_image(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    let (repository, tag) = last.split_once(':').unwrap_or((last, ""));
    let analysis = match tag.rsplit_once('.') {
        Some((analysis, _commit)) if !analysis.is_empty() => analysis,
        _ => repository,
    };
    analysis.to_owned()
}

/// The last component of a key or path, a folder's closing `/` left out.
pub fn base_name(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name)
}

/// The labels of a submission's datasets: what the names of their log and status files are made of. A dataset's base
/// name; where an earlier one has it already, its number is added.
pub fn dataset_labels(datasets: &[&str]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::with_capacity(datasets.len());
    for (at, dataset) in datasets.iter().enumerate() {
        let base = file_label(base_name(dataset));
        let taken = labels.contains(&base);
        labels.push(if taken { format!("{base}.{}", at + 1) } else { base });
    }
    labels
}

/// A name as the part of a file's name: cut where it is too long, with a part of its checksum to keep it apart.
fn file_label(name: &str) -> String {
    if name.len() <= LABEL_MAX {
        return name.to_owned();
    }
    format!("{}~{}", shorten(name, LABEL_MAX - 9), short_hash(name))
}

/// Eight hex digits that stand for a text.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn shorten(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

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
        JobFolder::new(Path::new(record.require("io_dir")?), &job, record.dataname().as_ref())
    }

    fn new(io_dir: &Path, job: &Job, dataname: Option<&Datasets>) -> Result<Self> {
        if job.id.is_empty() || job.id.contains('/') || job.id.starts_with('.') {
            return Err(Failure::new(Kind::BadRecord, format!("the job's id `{}` is no folder's name", job.id)));
        }
        if !io_dir.is_absolute() {
            return Err(Failure::new(Kind::BadRecord, format!("`io_dir` is not absolute: `{}`", io_dir.display())));
        }
        let label = match (&job.label, dataname) {
            (Some(label), _) => file_label(base_name(label)),
            (None, Some(Datasets::One(name))) => file_label(base_name(name)),
            _ => "submission".to_owned(),
        };
        Ok(JobFolder { root: io_dir.join(RESULTS).join(&job.id), dataset: job.dataset, label, attempt: job.attempt })
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
        self.logs().join(format!("DATASET_NAME:{}_STATUS.txt", self.label))
    }

    /// `<label>.log`.
    pub fn log_file(&self) -> PathBuf {
        self.logs().join(format!("{}.log", self.label))
    }

    /// `<label>.record.json`: the whole record of an ended job.
    pub fn record_file(&self) -> PathBuf {
        self.logs().join(record_file_name(&self.label))
    }

    /// `<label>.results.jsonl`: the results of a job that made more than a record can list.
    pub fn results_file(&self) -> PathBuf {
        self.logs().join(format!("{}.results.jsonl", self.label))
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

/// `<label>.record.json`.
pub fn record_file_name(label: &str) -> String {
    format!("{label}.record.json")
}

/// The name of a job's container: the same whenever the job is started, so that the engine itself refuses to run it
/// twice. Made from the id, which may hold characters that a container's name may not.
pub fn container_name(job: &Job, io_dir: &str) -> String {
    let readable: String =
        job.id.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(80).collect();
    let identity = [job.bucket.as_deref().unwrap_or(io_dir), job.group.as_deref().unwrap_or(""), &job.id].join("\n");
    format!("{readable}-{}-{}", job.dataset, short_hash(&identity))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose names cannot be made has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_keeps_the_colons_and_dots_of_its_timestamp() {
        assert_eq!(job_id("pca", "16:52:06.836494condition_0_0").unwrap(), "job__pca_16:52:06.836494condition_0_0");
        for bad in ["", "a/b", "a\nb", &"x".repeat(300)] {
            assert_eq!(job_id("pca", bad).unwrap_err().kind, Kind::BadSubmission);
        }
    }

    #[test]
    fn a_container_name_is_one_that_the_engine_takes() {
        let job = Job { id: "job__pca_16:52:06 é".into(), dataset: 2, ..Job::default() };
        let name = container_name(&job, "/io");
        assert!(name.starts_with("job__pca_16-52-06---2-"), "{name}");
        let elsewhere = Job { bucket: Some("s3://other".into()), ..job };
        assert_ne!(name, container_name(&elsewhere, "/io"));
    }

    #[test]
    fn datasets_of_the_same_base_name_have_labels_of_their_own() {
        assert_eq!(dataset_labels(&["a/x.npy", "b/x.npy", "c/folder/"]), ["x.npy", "x.npy.2", "folder"]);
        assert!(dataset_labels(&[&"é".repeat(150)])[0].len() <= LABEL_MAX);
    }

    #[test]
    fn the_analysis_stands_in_the_tag() {
        assert_eq!(analysis_of_image("neurocaas/contrib:pca.356d78a"), "pca");
        assert_eq!(analysis_of_image("host:5000/lab/sorter:latest"), "sorter");
        assert_eq!(analysis_of_image("debian@sha256:00"), "debian");
    }

    #[test]
    fn what_an_earlier_attempt_came_to_does_not_count() {
        let io_dir = tempfile::tempdir().unwrap();
        let job = |attempt| Job { id: "job__pca_1".into(), attempt, ..Job::default() };
        let folder = |attempt| JobFolder::new(io_dir.path(), &job(attempt), None).unwrap();
        let saved = Record::new(&crate::record::fields::Known { job: Some(job(None)), ..Default::default() });
        crate::files::write_whole(&folder(None).record_file(), &saved.to_line()).unwrap();
        assert!(folder(None).saved_record().is_some());
        assert!(folder(Some(2)).saved_record().is_none());
    }

    #[test]
    fn a_job_cannot_name_a_folder_outside_the_results() {
        for id in ["..", "a/b", ""] {
            let record = Record::parse(format!(r#"{{"io_dir":"/d","job":{{"id":"{id}"}}}}"#).as_bytes()).unwrap();
            assert_eq!(JobFolder::for_record(&record).unwrap_err().kind, Kind::BadRecord);
        }
    }
}
