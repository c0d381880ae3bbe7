//! The journal of a collection: which result goes where, written before anything moves.
//!
//! A file in the job's folder with one JSON line for each result. While results are being moved it is called
//! `.ncaas-moves.<dataset>`, afterwards `.ncaas-results.<dataset>`. A process that finds the first one finishes the
//! moves, before it assigns any name in the folder: until then the paths in the journal were free. A process that finds
//! the second one has nothing left to do. Every step can be repeated, so an interruption at any point is harmless.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Lines, Write};
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::RESULTS;
use serde::{Deserialize, Serialize};

use super::file_moves::{Mover, steps};
use super::findings::Findings;
use super::job_directory::JobDirectory;
use super::result_names::{FolderMove, Move, NamedFindings};

/// The progress of one dataset's collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CollectProgress {
    /// Nothing of this container was collected.
    NotStarted,
    /// Names are assigned and results are being moved.
    Moving,
    /// All results are at their paths.
    Collected,
}

impl CollectProgress {
    /// The progress for a container, given the containers that the two journal files name.
    fn new(moves: Option<&str>, results: Option<&str>, container: &str) -> CollectProgress {
        if moves.is_some() {
            CollectProgress::Moving
        } else if results == Some(container) {
            CollectProgress::Collected
        } else {
            CollectProgress::NotStarted
        }
    }
}

/// The journal of one container's results. It is read line by line: there may be a million results.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) container: String,
    pub(crate) warnings: Vec<String>,
    /// Files that were left out of a job without results.
    pub(crate) uncollected: u64,
    /// Folders to move as a whole, before all else.
    folders: Vec<FolderMove>,
    lines: Lines<BufReader<File>>,
    path: PathBuf,
}

/// The first line of a journal.
#[derive(Debug, Serialize, Deserialize)]
struct JournalHead<'h> {
    container: Cow<'h, str>,
    warnings: Cow<'h, [String]>,
    #[serde(default)]
    folders: Cow<'h, [FolderMove]>,
    #[serde(default)]
    uncollected: u64,
}

const MOVES: &str = "moves.";

fn moves_file(dataset: u64) -> PathBuf {
    format!("{TEMPORARY_PREFIX}{MOVES}{dataset}").into()
}

fn results_file(dataset: u64) -> PathBuf {
    format!("{TEMPORARY_PREFIX}results.{dataset}").into()
}

/// The progress of a dataset's collection from a container.
pub(crate) fn progress(directory: &JobDirectory, dataset: u64, container: &str) -> Result<CollectProgress> {
    let moves = Journal::open(directory, &moves_file(dataset))?;
    let results = Journal::open(directory, &results_file(dataset))?;
    let named = |journal: &Option<Journal>| journal.as_ref().map(|journal| journal.container.clone());
    Ok(CollectProgress::new(named(&moves).as_deref(), named(&results).as_deref(), container))
}

/// Finishes the moves of all datasets in a job's folder that other processes left unfinished. The caller holds the lock
/// of the folder.
pub(crate) fn finish_all(directory: &JobDirectory) -> Result<()> {
    let beginning = format!("{TEMPORARY_PREFIX}{MOVES}");
    let failed = |error: io::Error| directory.failure("list", Path::new(""), &error);
    for entry in directory.dir().entries().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let dataset = name.to_str().and_then(|name| name.strip_prefix(&beginning)?.parse().ok());
        if let Some(dataset) = dataset {
            finish(directory, dataset)?;
        }
    }
    Ok(())
}

/// The results of an earlier collection of the container that were not found again: those from its mounts. They need no
/// further move.
pub(crate) fn not_found_again(
    directory: &JobDirectory,
    dataset: u64,
    container: &str,
    findings: &Findings,
) -> Result<Vec<Move>> {
    let journal = Journal::open_finished(directory, dataset)?.filter(|journal| journal.container == container);
    let Some(mut journal) = journal else { return Ok(Vec::new()) };
    let found: HashSet<&str> = findings.list.iter().map(|finding| finding.source.as_ref()).collect();
    let earlier = journal.moves().map(|entry| entry.map(|(entry, _)| Move { from: None, ..entry }));
    earlier
        .filter(|entry| {
            entry.as_ref().is_ok_and(|entry| !found.contains(entry.result.source.as_str())) || entry.is_err()
        })
        .collect()
}

/// Writes the journal, whole or not at all, and so that it survives a power failure.
pub(crate) fn begin(
    directory: &JobDirectory,
    dataset: u64,
    container: &str,
    moves: impl Iterator<Item = Move>,
    named: &NamedFindings,
) -> Result<()> {
    let (warnings, folders) = (Cow::from(&named.warnings), Cow::from(&named.folders));
    let head = JournalHead { container: container.into(), warnings, folders, uncollected: named.uncollected };
    directory.folder().write_with(&moves_file(dataset), |file| {
        let mut out = BufWriter::new(file);
        serde_json::to_writer(&mut out, &head)?;
        for entry in moves {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, &entry)?;
        }
        out.write_all(b"\n")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
    })
}

/// Moves all results that are not moved yet, and marks the journal as finished.
pub(crate) fn finish(directory: &JobDirectory, dataset: u64) -> Result<()> {
    let Some(journal) = Journal::open(directory, &moves_file(dataset))? else { return Ok(()) };
    journal.move_all(directory, dataset)?;
    let finished = results_file(dataset);
    let renamed = directory.dir().rename(moves_file(dataset), directory.dir(), &finished);
    renamed.map_err(|error| directory.failure("write", &finished, &error))
}

impl Journal {
    /// Opens the journal of a dataset whose results are all moved, if there is one.
    pub(crate) fn open_finished(directory: &JobDirectory, dataset: u64) -> Result<Option<Journal>> {
        Journal::open(directory, &results_file(dataset))
    }

    fn open(directory: &JobDirectory, path: &Path) -> Result<Option<Journal>> {
        let opened = directory.folder().open_file(path).none_if(&[Kind::FileNotFound])?;
        let Some((file, _)) = opened else { return Ok(None) };
        let path = directory.job().root().join(path);
        let mut lines = BufReader::new(file).lines();
        let Some(head) = lines.next() else { return Ok(None) };
        let head = head.map_err(|error| Failure::io("read", &path, &error))?;
        let head: JournalHead = serde_json::from_str(&head).map_err(|error| cannot_parse(&path, &error))?;
        let (container, warnings, folders) =
            (head.container.into_owned(), head.warnings.into_owned(), head.folders.into_owned());
        Ok(Some(Journal { container, warnings, uncollected: head.uncollected, folders, lines, path }))
    }

    /// All moves, each with the length of its line.
    pub(crate) fn moves(&mut self) -> impl Iterator<Item = Result<(Move, usize)>> + '_ {
        let Journal { lines, path, .. } = self;
        lines.map(|line| {
            let line = line.map_err(|error| Failure::io("read", path, &error))?;
            Ok((serde_json::from_str(&line).map_err(|error| cannot_parse(path, &error))?, line.len()))
        })
    }

    fn move_all(mut self, directory: &JobDirectory, dataset: u64) -> Result<()> {
        // Without a work folder everything has been moved.
        let Some(work) = directory.open_work(dataset)? else { return Ok(()) };
        let base = Path::new(RESULTS).join(directory.job().root().file_name().unwrap_or_default());
        let mut mover = Mover::new(directory.dir(), &work);
        let failed = |path: &Path, error: &io::Error| directory.failure("write", path, error);
        let mut moved = HashSet::new();
        let folders = std::mem::take(&mut self.folders);
        for folder in &folders {
            let to = Path::new(&folder.to);
            if mover.move_folder(folder.from.as_path(), to).map_err(|error| failed(to, &error))? {
                moved.insert(folder.from.as_path());
            }
        }
        for entry in self.moves() {
            let (entry, _) = entry?;
            let to = Path::new(&entry.result.path).strip_prefix(&base).unwrap_or(Path::new(""));
            for step in steps(&entry, to, &moved) {
                mover.carry_out(&step).map_err(|error| failed(to, &error))?;
            }
        }
        Ok(())
    }
}

fn cannot_parse(path: &Path, error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Io, format!("cannot read `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_follows_from_the_two_journal_files() {
        let cases = [
            (None, None, CollectProgress::NotStarted),
            (Some("a"), None, CollectProgress::Moving),
            (Some("b"), Some("a"), CollectProgress::Moving),
            (None, Some("a"), CollectProgress::Collected),
            // Another container ran for the same dataset before.
            (None, Some("b"), CollectProgress::NotStarted),
        ];
        for (moves, results, expected) in cases {
            assert_eq!(CollectProgress::new(moves, results, "a"), expected, "{moves:?} {results:?}");
        }
    }
}
