//! The results of an earlier run of the same dataset. Those of a new run replace them.

use std::collections::HashMap;
use std::path::Path;

use ncaas_core::failure::Result;
use ncaas_core::layout::path_in_job;
use ncaas_core::record::fields::ResultFile;
use ncaas_core::transfer::file_sha256;

use super::job_directory::JobDirectory;
use super::journal::Journal;
use crate::result_list::{ResultList, describe_results_of_run};

/// The results that were last collected for a dataset and that no other dataset shares, by path.
#[derive(Debug, Default)]
pub(crate) struct EarlierResults(HashMap<String, ResultFile>);

impl EarlierResults {
    /// Reads them from the journal of the last collection.
    pub(super) fn read(directory: &JobDirectory, is_only_dataset: bool) -> Result<Self> {
        let dataset = directory.job().dataset();
        let Some(mut journal) = Journal::open_finished(directory, dataset)? else { return Ok(Self::default()) };
        let results = journal.moves().map(|entry| entry.map(|(entry, _)| (entry.result.path.clone(), entry.result)));
        let mut results = results.collect::<Result<HashMap<_, _>>>()?;
        if !is_only_dataset && !results.is_empty() {
            for record in directory.other_records() {
                // A list that does not match its record is ignored: its files stay beside the new ones.
                for result in ResultList::open(&record, directory.folder()).ok().into_iter().flatten().flatten() {
                    results.remove(&result.path);
                }
            }
        }
        Ok(EarlierResults(results))
    }

    /// Whether a path, relative to the io-dir, is one of them.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Forgets a result that is one of the new run too.
    pub(super) fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Removes those that are as the earlier run left them. Returns what is to be told about that.
    pub(super) fn remove(&mut self, directory: &JobDirectory) -> Option<String> {
        let mut removed = Vec::new();
        self.0.retain(|path, result| {
            let is_removed = remove_unchanged(directory, path_in_job(path), result);
            removed.extend(is_removed.then(|| path.clone()));
            !is_removed
        });
        let paths = removed.iter().map(|path| path_in_job(path));
        describe_results_of_run("from the earlier attempt", paths, ["was removed", "were removed"])
    }

    /// The warning about those that are still there.
    pub(super) fn warning(&self, directory: &JobDirectory) -> Option<String> {
        let remaining = self.0.keys().map(|path| path_in_job(path)).filter(|path| directory.folder().has(path));
        let place = ["is still next to those of this run", "are still next to those of this run"];
        describe_results_of_run("from an earlier run of this job", remaining, place)
    }
}

/// Removes a result, and the folders that are empty then. Returns false for one that somebody has changed.
fn remove_unchanged(directory: &JobDirectory, path: &Path, result: &ResultFile) -> bool {
    let Ok(metadata) = directory.dir().symlink_metadata(path) else { return false };
    let is_unchanged = || {
        let (file, _) = directory.folder().open_file(path).ok()?;
        Some(result.sha256.as_deref() == Some(hex::encode(file_sha256(&file).ok()?).as_str()))
    };
    let removed = if metadata.is_dir() {
        directory.dir().remove_dir(path)
    } else if metadata.is_symlink() || metadata.len() == result.size && is_unchanged() == Some(true) {
        directory.dir().remove_file(path)
    } else {
        return false;
    };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.components().count() > 1) {
        // Fails for a folder that is not empty.
        if directory.dir().remove_dir(folder).is_err() {
            break;
        }
    }
    removed.is_ok()
}
