//! The results of an earlier run of the same dataset.
//!
//! A new run of the same attempt, for example after its container was lost, replaces those that it writes again. A new
//! attempt, after `ncaas-submit retry`, begins without them: they are removed before its results get their names, so
//! that these are the same as in a new folder. A file that was changed since is neither removed nor replaced.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use ncaas_core::failure::Result;
use ncaas_core::layout::{config_copy, path_in_job};
use ncaas_core::transfer::file_sha256;

use super::job_directory::JobDirectory;
use super::journal::Journal;
use super::result_names::Move;
use crate::result_list::{ResultList, describe_results_of_run};

/// The results that were last collected for a dataset, and that no other dataset shares.
#[derive(Debug, Default)]
pub(crate) struct EarlierResults {
    /// The container that they come from.
    container: String,
    /// Those that a new run replaces, by path.
    replaceable: HashMap<String, Move>,
    /// Those that were changed since, which no new attempt replaces.
    changed: BTreeSet<String>,
    /// Those that were removed.
    removed: BTreeSet<String>,
}

impl EarlierResults {
    /// Reads them from the journal of the last collection. The copy of the config is none of them, even if the job wrote
    /// the same file.
    pub(super) fn read(directory: &JobDirectory, is_only_dataset: bool, config: Option<&str>) -> Result<Self> {
        let dataset = directory.job().dataset();
        let Some(mut journal) = Journal::open_finished(directory, dataset)? else { return Ok(Self::default()) };
        let container = journal.container.clone();
        let moves = journal.moves().map(|entry| entry.map(|(entry, _)| (entry.result.path.clone(), entry)));
        let mut replaceable = moves.collect::<Result<HashMap<_, _>>>()?;
        if let Some(config) = config {
            replaceable.remove(&format!("{}/{}", directory.base(), config_copy(config)));
        }
        if !is_only_dataset && !replaceable.is_empty() {
            for record in directory.other_records() {
                // A list that does not match its record is ignored: its files stay beside the new ones.
                for result in ResultList::open(&record, directory.folder()).ok().into_iter().flatten().flatten() {
                    replaceable.remove(&result.path);
                }
            }
        }
        Ok(EarlierResults { container, replaceable, ..Self::default() })
    }

    /// Whether a path, relative to the io-dir, is one that a new run replaces.
    pub(super) fn is_replaceable(&self, path: &str) -> bool {
        self.replaceable.contains_key(path)
    }

    /// Forgets a result that is one of the new run too.
    pub(super) fn forget(&mut self, path: &str) {
        self.replaceable.remove(path);
        self.removed.remove(path);
    }

    /// Removes all that are as the earlier attempt left them, unless they are those of this container.
    pub(super) fn remove(&mut self, directory: &JobDirectory, container: &str) {
        if self.container == container {
            return;
        }
        for (path, entry) in self.replaceable.drain() {
            let in_job = path_in_job(path.trim_end_matches('/'));
            if directory.folder().has(in_job) {
                let is_removed = remove_unchanged(directory, in_job, &entry);
                (if is_removed { &mut self.removed } else { &mut self.changed }).insert(path);
            }
        }
    }

    /// The sentence about those that were removed and that the new run has not written again.
    pub(super) fn describe_removed(&self) -> Option<String> {
        let paths = self.removed.iter().map(|path| path_in_job(path));
        describe_results_of_run("from the earlier attempt", paths, ["was removed", "were removed"])
    }

    /// The warning about those that are still there.
    pub(super) fn warning(&self, directory: &JobDirectory) -> Option<String> {
        let all = self.replaceable.keys().chain(&self.changed).map(|path| path_in_job(path));
        let remaining = all.filter(|path| directory.folder().has(path));
        let place = ["is still next to those of this run", "are still next to those of this run"];
        describe_results_of_run("from an earlier run of this job", remaining, place)
    }
}

/// Removes a result, and the folders that are empty then. Returns false for one that somebody has changed.
fn remove_unchanged(directory: &JobDirectory, path: &Path, entry: &Move) -> bool {
    let dir = directory.dir();
    let is_real_folder = |folder: &Path| dir.symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    let mut folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    if !folders.all(is_real_folder) {
        return false;
    }
    let Ok(metadata) = dir.symlink_metadata(path) else { return false };
    let has_content = || {
        let (file, _) = directory.folder().open_file(path).ok()?;
        Some(hex::encode(file_sha256(&file).ok()?))
    };
    let removed = if metadata.is_dir() {
        dir.remove_dir(path)
    } else if metadata.is_symlink() {
        let target = dir.read_link_contents(path).ok();
        if target.as_deref() != entry.link.as_deref().map(Path::new) {
            return false;
        }
        dir.remove_file(path)
    } else if metadata.len() == entry.result.size
        && entry.result.sha256.is_some()
        && has_content() == entry.result.sha256
    {
        dir.remove_file(path)
    } else {
        return false;
    };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.components().count() > 1) {
        // Fails for a folder that is not empty.
        if dir.remove_dir(folder).is_err() {
            break;
        }
    }
    removed.is_ok()
}
