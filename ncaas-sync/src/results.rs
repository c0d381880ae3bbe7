//! The results of a job, as its record lists them: itself, or in a file that it names.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::folder::Folder;
use ncaas_core::layout::RESULTS;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{ResultFile, ResultsFile};

use ncaas_core::transfer::file_sha256;

/// One result after the other: there may be a million of them.
#[derive(Debug)]
pub(crate) enum Results {
    Listed(IntoIter<ResultFile>),
    Filed { lines: Lines<BufReader<File>>, shown: PathBuf },
}

impl Results {
    /// Those of a record, whose file is in `job`, the job's folder. None where it lists none.
    pub(crate) fn open(record: &Record, job: &Folder) -> Result<Results> {
        let Some(told) = record.results_file() else { return Ok(Results::of(record.results().unwrap_or_default())) };
        let path = within_job(&told.path);
        let (file, _) = job.open_file(path)?;
        Results::filed(file, &told, job.path().join(path))
    }

    /// Those that stand in a record itself.
    pub(crate) fn of(results: Vec<ResultFile>) -> Results {
        Results::Listed(results.into_iter())
    }

    /// Those in a file, which has to be what the record says.
    pub(crate) fn filed(file: File, told: &ResultsFile, shown: PathBuf) -> Result<Results> {
        // One of another size is not read: it may be as large as it likes.
        let is_it = |size| Ok(size == told.size && hex::encode(file_sha256(&file)?) == told.sha256);
        if !file.metadata().and_then(|file| is_it(file.len())).doing("read", &shown)? {
            let words = format!("`{}` does not list what its record says: its SHA-256 is another", shown.display());
            return Err(Failure::new(Kind::ChecksumMismatch, words)
                .hint("`ncaas-sync collect` with the same record writes it again"));
        }
        Ok(Results::Filed { lines: BufReader::new(file).lines(), shown })
    }
}

impl Iterator for Results {
    type Item = Result<ResultFile>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Results::Listed(results) => results.next().map(Ok),
            Results::Filed { lines, shown } => {
                let line = lines.next()?.doing("read", shown);
                Some(line.and_then(|line| {
                    serde_json::from_str(&line).map_err(|error| {
                        let words = format!("`{}` has a line that is no result: {error}", shown.display());
                        Failure::new(Kind::BadRecord, words)
                    })
                }))
            }
        }
    }
}

/// A path of a record, relative to its io-dir, as one in the job's folder.
pub(crate) fn within_job(path: &str) -> &Path {
    let below = path.strip_prefix(RESULTS).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
    Path::new(below.map_or(path, |(_, below)| below))
}
