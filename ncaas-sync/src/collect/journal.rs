//! The journal of a collection: which result goes where, written before anything moves.
//!
//! A file in the job's folder with one JSON line for each result. While results are being moved it is called
//! `.ncaas-moves.<dataset>`, afterwards `.ncaas-results.<dataset>`. A process that finds the first one finishes the
//! moves, before it assigns any name in the folder: until then the paths in the journal were free. A process that finds
//! the second one has nothing left to do. Every step can be repeated, so an interruption at any point is harmless.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Lines, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::RESULTS;
use serde::{Deserialize, Serialize};

use super::findings::{Findings, RawPath};
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
    container: String,
    pub(crate) warnings: Vec<String>,
    /// Files that were left out of a successful job without results.
    pub(crate) uncollected: u64,
    /// Folders to move as a whole, before all else.
    folders: Vec<FolderMove>,
    lines: Lines<BufReader<File>>,
    path: PathBuf,
}

/// The first line of a journal.
#[derive(Debug, Serialize, Deserialize)]
struct Head<'h> {
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

/// The results that were collected from a container before, and are not among the files that were found in it again: the
/// ones from its mounts. They need no further move.
pub(crate) fn earlier_results(
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
    let head = Head { container: container.into(), warnings, folders, uncollected: named.uncollected };
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
        let head: Head = serde_json::from_str(&head).map_err(|error| cannot_parse(&path, &error))?;
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
        let mut mover =
            Mover { root: directory.dir(), work: &work, to: OpenFolder::default(), from: OpenFolder::default() };
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

/// One change of the file system. Each can be repeated.
#[derive(Debug, PartialEq, Eq)]
enum FileStep<'s> {
    CreateFolder(&'s Path),
    CreateLink {
        at: &'s Path,
        target: &'s str,
    },
    /// Removes a link from the work folder.
    RemoveLink(&'s Path),
    /// Moves a file from the work folder to the job's folder.
    MoveFile {
        from: &'s Path,
        to: &'s Path,
    },
}

/// The steps of one move to the path `to`. Files in folders that `moved` as a whole need none.
fn steps<'s>(entry: &'s Move, to: &'s Path, moved: &HashSet<&Path>) -> Vec<FileStep<'s>> {
    let from = entry.from.as_ref().map(RawPath::as_path);
    if entry.result.path.ends_with('/') {
        return vec![FileStep::CreateFolder(to)];
    }
    if from.and_then(Path::parent).is_some_and(|folder| moved.contains(folder)) {
        return Vec::new();
    }
    match (&entry.link, from) {
        (Some(target), None) => vec![FileStep::CreateLink { at: to, target }],
        (Some(target), Some(from)) => vec![FileStep::CreateLink { at: to, target }, FileStep::RemoveLink(from)],
        (None, Some(from)) => vec![FileStep::MoveFile { from, to }],
        (None, None) => Vec::new(),
    }
}

/// Carries out steps between a work folder and a job's folder.
struct Mover<'m> {
    root: &'m Dir,
    work: &'m Dir,
    to: OpenFolder,
    from: OpenFolder,
}

impl Mover<'_> {
    /// Moves a folder as a whole. False if another folder has the name by now: then its files move one by one.
    fn move_folder(&self, from: &Path, to: &Path) -> io::Result<bool> {
        self.root.create_dir_all(parent(to))?;
        match ignore_missing(self.work.rename(from, self.root, to)) {
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(false),
            moved => moved.map(|()| true),
        }
    }

    fn carry_out(&mut self, step: &FileStep<'_>) -> io::Result<()> {
        match step {
            FileStep::CreateFolder(path) => self.root.create_dir_all(path),
            FileStep::CreateLink { at, target } => {
                create_link(self.to.open(self.root, parent(at), true)?, name(at), target)
            }
            // A folder that is missing was moved or emptied before.
            FileStep::RemoveLink(path) => match self.from.open(self.work, parent(path), false) {
                Ok(folder) => ignore_missing(folder.remove_file(name(path))),
                Err(_) => Ok(()),
            },
            FileStep::MoveFile { from, to } => {
                let into = self.to.open(self.root, parent(to), true)?;
                match self.from.open(self.work, parent(from), false) {
                    Ok(folder) => ignore_missing(folder.rename(name(from), into, name(to))),
                    Err(_) => Ok(()),
                }
            }
        }
    }
}

fn cannot_parse(path: &Path, error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Io, format!("cannot read `{}`: {error}", path.display()))
}

/// The folder that was opened last: the next file is mostly in the same one.
#[derive(Default)]
struct OpenFolder(Option<(PathBuf, Dir)>);

impl OpenFolder {
    fn open(&mut self, root: &Dir, path: &Path, create: bool) -> io::Result<&Dir> {
        if self.0.as_ref().is_none_or(|(opened, _)| opened != path) {
            self.0 = None;
            if create {
                root.create_dir_all(path)?;
            }
            let dir = if path.as_os_str().is_empty() { root.try_clone()? } else { root.open_dir(path)? };
            return Ok(&self.0.insert((path.to_owned(), dir)).1);
        }
        self.0.as_ref().map(|(_, dir)| dir).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// Creates a link, or replaces what has its name.
fn create_link(folder: &Dir, name: &Path, target: &str) -> io::Result<()> {
    if folder.read_link_contents(name).is_ok_and(|existing| existing == Path::new(target)) {
        return Ok(());
    }
    ignore_missing(folder.remove_file(name))?;
    folder.symlink_contents(target, name)
}

/// A file that is missing was moved before.
fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cap_std::ambient_authority;
    use ncaas_core::record::fields::ResultFile;

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

    fn entry(from: Option<&str>, link: Option<&str>, to: &str) -> Move {
        Move {
            from: from.map(|from| RawPath::Text(from.to_owned())),
            link: link.map(str::to_owned),
            result: ResultFile { path: to.to_owned(), ..ResultFile::default() },
        }
    }

    #[test]
    fn the_steps_of_a_move_follow_from_its_kind() {
        let moved = HashSet::from([Path::new("s/1")]);
        let (from, to) = (Path::new("s/0/f"), Path::new("p/f"));
        let cases = [
            (entry(None, None, "p/f/"), vec![FileStep::CreateFolder(to)]),
            (entry(Some("s/0/f"), None, "p/f"), vec![FileStep::MoveFile { from, to }]),
            (entry(Some("s/1/f"), None, "p/f"), vec![]),
            (entry(None, Some("x"), "p/f"), vec![FileStep::CreateLink { at: to, target: "x" }]),
            (
                entry(Some("s/0/f"), Some("x"), "p/f"),
                vec![FileStep::CreateLink { at: to, target: "x" }, FileStep::RemoveLink(from)],
            ),
        ];
        for (entry, expected) in &cases {
            assert_eq!(steps(entry, to, &moved), *expected, "{entry:?}");
        }
    }

    /// All entries of a folder by path: the content of files, the target of links.
    fn tree(dir: &Dir, path: &str, into: &mut BTreeMap<String, String>) {
        for entry in dir.entries().unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{path}/{name}");
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                tree(&dir.open_dir(&name).unwrap(), &path, into);
                into.insert(path, "folder".into());
            } else if kind.is_symlink() {
                into.insert(path, format!("-> {}", dir.read_link_contents(&name).unwrap().display()));
            } else {
                into.insert(path, dir.read_to_string(&name).unwrap());
            }
        }
    }

    #[test]
    fn moves_that_were_interrupted_after_any_step_end_the_same() {
        let moves = [
            entry(Some("0/a"), None, "p/a"),
            entry(Some("0/b"), None, "p/q/b"),
            entry(Some("0/l"), Some("a"), "p/l"),
            entry(None, Some("q/b"), "p/m"),
            entry(None, None, "p/e/"),
        ];
        let none = HashSet::new();
        let all: Vec<FileStep> =
            moves.iter().flat_map(|entry| steps(entry, Path::new(&entry.result.path), &none)).collect();
        let expected = [("/p", "folder"), ("/p/a", "A"), ("/p/e", "folder"), ("/p/l", "-> a"), ("/p/m", "-> q/b")];
        let expected = expected.into_iter().chain([("/p/q", "folder"), ("/p/q/b", "B")]);
        let expected: BTreeMap<String, String> = expected.map(|(path, what)| (path.into(), what.into())).collect();
        for done in 0..=all.len() {
            let (root, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let [root, work] = [&root, &work].map(|dir| Dir::open_ambient_dir(dir, ambient_authority()).unwrap());
            work.create_dir("0").unwrap();
            work.write("0/a", "A").unwrap();
            work.write("0/b", "B").unwrap();
            work.symlink_contents("/old", "0/l").unwrap();
            for steps in [&all[..done], &all] {
                let mut mover =
                    Mover { root: &root, work: &work, to: OpenFolder::default(), from: OpenFolder::default() };
                steps.iter().for_each(|step| mover.carry_out(step).unwrap());
            }
            let mut found = BTreeMap::new();
            tree(&root, "", &mut found);
            assert_eq!(found, expected, "interrupted after {done} steps");
            assert_eq!(work.open_dir("0").unwrap().entries().unwrap().count(), 0);
        }
    }
}
