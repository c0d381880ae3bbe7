//! The names of files and folders in a bucket and in an io-dir, and names that are derived from a job.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::failure::{Failure, Kind, Result};
use crate::text;
pub use crate::text::base_name;

/// Datasets.
pub const INPUTS: &str = "inputs";
/// Configuration files.
pub const CONFIGS: &str = "configs";
/// Submit files.
pub const SUBMISSIONS: &str = "submissions";
/// Job folders, one for each job id.
pub const RESULTS: &str = "results";
/// In a job folder: certificate, status files, logs.
pub const LOGS: &str = "logs";
/// In a job folder: what the analysis produced.
pub const PROCESS_RESULTS: &str = "process_results";
/// In an io-dir: the folders that the containers of jobs write to.
pub const WORK: &str = ".ncaas/work";
/// In `process_results`: the file that the platform's pollers wait for, written last.
pub const END_FILE: &str = "end.txt";
/// Path of [`END_FILE`] in a job's folder.
pub const END_PATH: &str = "process_results/end.txt";
/// Its content.
pub const END_CONTENT: &str = "end of analysis\n";
/// In the home directory of a container: the file by which the platform's workflow client finds a job's inputs.
pub const WORKFLOW_LOCATION: &str = ".neurocaas_contrib_storageloc.json";
/// The end of a submit file's name.
pub const SUBMIT_SUFFIX: &str = "submit.json";
/// The certificate's file name.
pub const CERTIFICATE: &str = "certificate.txt";
/// The repository of images of analyses: their tags are named for the analysis.
const CONTRIB: &str = "contrib";
/// The end of the saved record's name: `<label>.record.json`.
pub const RECORD_SUFFIX: &str = ".record.json";
/// The end of the name of a list of results that are too many for the record: `<label>.results.jsonl`.
pub const RESULTS_SUFFIX: &str = ".results.jsonl";
/// The end of a log's name: `<label>.log`.
pub const LOG_SUFFIX: &str = ".log";
/// The end of a status file's name: `DATASET_NAME:<label>_STATUS.txt`.
pub const STATUS_SUFFIX: &str = "_STATUS.txt";
/// In a job folder of a bucket: the watcher that is responsible for the submission. A submission without this file and
/// without `end.txt` is open to any watcher.
pub const CLAIM: &str = "claim.json";
/// In a job folder of a bucket: the submission is cancelled. Its jobs do not start, and running ones are stopped.
pub const CANCEL: &str = "cancel.json";
/// At the root of a bucket: state that watchers share. In an io-dir: what the tools keep there. No group has this name,
/// and no key of a group begins with it.
pub const STATE_FOLDER: &str = ".ncaas";
/// In [`STATE_FOLDER`]: the watchers' heartbeats.
pub const WATCHERS: &str = ".ncaas/watchers/";
/// In [`STATE_FOLDER`]: the records of jobs that AWS Batch runs.
pub const PLACEMENTS: &str = ".ncaas/placements/";
/// The io-dir in a container, unless an image label or a flag names another.
pub const CONTAINER_IO_DIR: &str = "/home/neurocaasdev/io-dir";

/// The length of a label or job id in bytes: what a file system allows, 255, less what file names put around it.
pub(super) const MAX_LABEL: usize = 200;

/// The length of a group in bytes: what a file's name may have.
const MAX_GROUP: usize = 255;

/// `job__<analysis>_<timestamp>`.
///
/// # Errors
/// [`Kind::BadSubmission`] if that cannot be the name of a folder.
pub fn job_id(analysis: &str, timestamp: &str) -> Result<String> {
    let bad = |why: &str| {
        let shown = text::quoted(timestamp, 60);
        Err(Failure::new(Kind::BadSubmission, format!("`timestamp` {why}: {shown}")))
    };
    if timestamp.is_empty() {
        return bad("is empty");
    }
    if timestamp.contains('/') || timestamp.chars().any(char::is_control) {
        return bad("has a character that cannot be in a folder's name");
    }
    let id = format!("job__{analysis}_{timestamp}");
    if id.len() > MAX_LABEL { bad("is too long") } else { Ok(id) }
}

/// Whether a text can be a group: the name of a folder of a bucket. The folders of an io-dir are not groups: a job from
/// arguments has its results in `DIR/results`, where the io-dir of a group `results` would be.
///
/// # Errors
/// [`Kind::Usage`] if not.
pub fn check_group(group: &str) -> Result<()> {
    let fault = if group.is_empty() || group.len() > MAX_GROUP || group.contains('/') {
        "a group is the name of one folder in the bucket"
    } else if group.chars().any(char::is_control) {
        "it contains a control character"
    } else if group.trim() != group {
        "it begins or ends with a space"
    } else if group.starts_with('.') {
        "names that begin with `.` belong to the tools"
    } else if [INPUTS, CONFIGS, SUBMISSIONS, RESULTS, LOGS].contains(&group) {
        "it is the name of a folder in each group"
    } else {
        return Ok(());
    };
    let shown = text::quoted(group, 200);
    Err(Failure::new(Kind::Usage, format!("{shown} is not a valid group: {fault}")))
}

/// A job's folder in a bucket, `<group>/results/<job id>/`, the prefix of its keys.
pub fn job_prefix(group: &str, job_id: &str) -> String {
    format!("{group}/{RESULTS}/{job_id}/")
}

/// The analysis in an image: `pca` for `neurocaas/contrib:pca.356d78a` and `neurocaas/contrib:pca`, else the last part
/// of the repository.
pub fn analysis_of_image(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    let (repository, tag) = last.split_once(':').unwrap_or((last, ""));
    let analysis = match tag.rsplit_once('.') {
        Some((analysis, _commit)) if !analysis.is_empty() => analysis,
        // The tags of this repository are named for analyses.
        None if repository == CONTRIB && !tag.is_empty() => tag,
        _ => repository,
    };
    analysis.to_owned()
}

/// `DATASET_NAME:<label>_STATUS.txt`.
pub fn status_file_name(label: &str) -> String {
    format!("DATASET_NAME:{label}{STATUS_SUFFIX}")
}

/// The first eight hex digits of a text's SHA-256.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The path in a job's folder of the copy of its config, which is beside its results.
pub fn config_copy(configname: &str) -> String {
    format!("{PROCESS_RESULTS}/{}", base_name(configname))
}

/// A path relative to the io-dir, as a record has it, relative to the job's folder.
pub fn path_in_job(path: &str) -> &Path {
    let below = path.strip_prefix(RESULTS).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
    Path::new(below.map_or(path, |(_, below)| below))
}

#[cfg(test)]
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
    fn a_group_is_one_folder_name_that_the_tools_do_not_use() {
        for group in ["lab", "lab 2", "job__pca_1", "Results", "a..b", "ünï"] {
            assert!(check_group(group).is_ok(), "{group}");
        }
        let long = "x".repeat(256);
        for group in [
            "", ".", "..", "a/b", "../x", "/a", ".ncaas", ".git", "results", "logs", "inputs", "a\nb", "a\u{9b}", &long,
        ] {
            assert_eq!(check_group(group).unwrap_err().kind, Kind::Usage, "{group}");
        }
    }

    #[test]
    fn the_tag_names_the_analysis() {
        assert_eq!(analysis_of_image("neurocaas/contrib:pca.356d78a"), "pca");
        assert_eq!(analysis_of_image("neurocaas/contrib:pca"), "pca");
        assert_eq!(analysis_of_image("neurocaas/contrib"), "contrib");
        assert_eq!(analysis_of_image("host:5000/lab/sorter:latest"), "sorter");
        assert_eq!(analysis_of_image("debian@sha256:00"), "debian");
    }
}
