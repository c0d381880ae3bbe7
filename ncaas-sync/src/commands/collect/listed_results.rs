//! The collected results of a job as its record lists them.

use ncaas_core::failure::Result;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{ResultFile, ResultsFile};

use super::expected_results::Check;
use super::job_directory::JobDirectory;
use super::journal::Journal;
use crate::result_list::write_results_file;

/// Most bytes of results in a record. Each stage of a pipe holds several whole records in memory.
const MAX_LISTED_BYTES: usize = 16 << 20;

/// The fields of a record about the results of a job.
pub(super) struct ListedResults {
    results: Vec<ResultFile>,
    /// The file that lists them instead.
    file: Option<ResultsFile>,
    pub(super) warnings: Vec<String>,
    /// Files that were left out of a job without results.
    uncollected: u64,
    /// Whether everything expected is among them.
    pub(super) expectation: Result<()>,
}

impl ListedResults {
    /// Lists the collected results of a dataset: in the record or, if they are too many, in a file.
    pub(super) fn read(directory: &JobDirectory, mut check: Check) -> Result<Self> {
        let dataset = directory.job().dataset();
        let (mut results, mut warnings, mut uncollected) = (Vec::new(), Vec::new(), 0);
        let mut room = MAX_LISTED_BYTES;
        if let Some(mut journal) = Journal::open_finished(directory, dataset)? {
            warnings = std::mem::take(&mut journal.warnings);
            uncollected = journal.uncollected;
            for entry in journal.moves() {
                // A line of the journal is longer than the result in it.
                let (entry, length) = entry?;
                check.add(&entry.result);
                room = room.saturating_sub(length);
                if room > 0 {
                    results.push(entry.result);
                } else {
                    results = Vec::new();
                }
            }
        }
        let path = directory.relative(&directory.job().results_file());
        let mut file = None;
        if room > 0 {
            results.sort_by(|a, b| a.path.cmp(&b.path));
            // An earlier run may have left one.
            let _ = directory.dir().remove_file(path);
        } else if let Some(mut journal) = Journal::open_finished(directory, dataset)? {
            let results = journal.moves().map(|entry| entry.map(|(entry, _)| entry.result));
            file = Some(write_results_file(directory.folder(), &path, results)?);
        }
        Ok(ListedResults { results, file, warnings, uncollected, expectation: check.finish() })
    }

    /// Sets the fields of the record.
    pub(super) fn set_in(&self, record: &mut Record) {
        record.set("results", &self.results);
        match &self.file {
            Some(file) => record.set("results_file", file),
            None => record.remove("results_file"),
        }
        match self.uncollected {
            0 => record.remove("uncollected"),
            uncollected => record.set("uncollected", &uncollected),
        }
    }
}
