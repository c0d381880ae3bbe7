//! What goes where, written down before anything is moved; and afterwards, that it has been.
//!
//! A file in the job's folder, a line of JSON for each thing: `.ncaas-moves.<dataset>` while results are being moved,
//! and `.ncaas-results.<dataset>` for good. Whoever finds the first finishes the work, and that before anything else is
//! given a name in the job's folder; whoever finds the second has nothing to do.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Lines, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::RESULTS;
use ncaas_core::record::fields::ResultFile;
use serde::{Deserialize, Serialize};

use super::decided::Decided;
use super::found::Raw;
use super::home::Home;

/// What one container's job has come to, read a line at a time: there may be a million of them.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) container: String,
    pub(crate) warnings: Vec<String>,
    /// Folders that are moved as they are, before all else.
    folders: Vec<FolderMove>,
    lines: Lines<BufReader<File>>,
    shown: PathBuf,
}

/// One thing on its way to its final name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Where it lies, relative to the dataset's work folder; none for what is made where it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Raw>,
    /// What a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    pub(crate) result: ResultFile,
}

/// A folder on its way, with the files in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderMove {
    /// Where it lies, relative to the dataset's work folder.
    pub(crate) from: Raw,
    /// Relative to the job's folder.
    pub(crate) to: String,
}

/// A journal's first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head<'h> {
    container: Cow<'h, str>,
    warnings: Cow<'h, [String]>,
    #[serde(default)]
    folders: Cow<'h, [FolderMove]>,
}

const MOVES: &str = "moves.";

/// Where in a job's folder a dataset's journal is while its results are being moved.
pub(crate) fn moves_file(dataset: u64) -> PathBuf {
    format!("{TEMPORARY_PREFIX}{MOVES}{dataset}").into()
}

/// Where the journal of a dataset's finished collection is.
pub(crate) fn results_file(dataset: u64) -> PathBuf {
    format!("{TEMPORARY_PREFIX}results.{dataset}").into()
}

/// Finishes what others have begun to move in a job's folder, who hold its lock no more. Where they were going nobody
/// else has been yet: that holds no longer once somebody else is given names there.
pub(crate) fn finish_begun(home: &Home) -> Result<()> {
    let beginning = format!("{TEMPORARY_PREFIX}{MOVES}");
    let failed = |error: io::Error| home.failure("list", Path::new(""), &error);
    for entry in home.dir().entries().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let dataset = name.to_str().and_then(|name| name.strip_prefix(&beginning)?.parse().ok());
        if let Some(dataset) = dataset {
            complete(home, dataset)?;
        }
    }
    Ok(())
}

/// Writes down what goes where, so that it is there whole or not at all, and survives a power cut.
pub(crate) fn write(home: &Home, dataset: u64, container: &str, decided: &Decided) -> Result<()> {
    let (warnings, folders) = (Cow::from(&decided.warnings), Cow::from(&decided.folders));
    let head = Head { container: container.into(), warnings, folders };
    home.folder().write_with(&moves_file(dataset), |file| {
        let mut out = BufWriter::new(file);
        serde_json::to_writer(&mut out, &head)?;
        for one in decided.moves() {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, &one)?;
        }
        out.write_all(b"\n")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
    })
}

/// Moves everything that is not moved yet, and writes that down.
pub(crate) fn complete(home: &Home, dataset: u64) -> Result<()> {
    let Some(journal) = Journal::open(home, &moves_file(dataset))? else { return Ok(()) };
    journal.carry_out(home, dataset)?;
    let done = results_file(dataset);
    let renamed = home.dir().rename(moves_file(dataset), home.dir(), &done);
    renamed.map_err(|error| home.failure("write", &done, &error))
}

impl Journal {
    /// Reads the beginning of a journal, if it is there.
    pub(crate) fn open(home: &Home, path: &Path) -> Result<Option<Journal>> {
        let file = match home.folder().open_file(path) {
            Err(failure) if failure.kind == Kind::FileNotFound => return Ok(None),
            opened => opened?.0,
        };
        let shown = home.job().root().join(path);
        let mut lines = BufReader::new(file).lines();
        let Some(head) = lines.next() else { return Ok(None) };
        let head = head.map_err(|error| Failure::io("read", &shown, &error))?;
        let head: Head = serde_json::from_str(&head).map_err(|error| broken(&shown, &error))?;
        let (container, warnings, folders) =
            (head.container.into_owned(), head.warnings.into_owned(), head.folders.into_owned());
        Ok(Some(Journal { container, warnings, folders, lines, shown }))
    }

    /// What it says of each thing, with the length of its line.
    pub(crate) fn moves(&mut self) -> impl Iterator<Item = Result<(Move, usize)>> + '_ {
        let Journal { lines, shown, .. } = self;
        lines.map(|line| {
            let line = line.map_err(|error| Failure::io("read", shown, &error))?;
            Ok((serde_json::from_str(&line).map_err(|error| broken(shown, &error))?, line.len()))
        })
    }

    fn carry_out(mut self, home: &Home, dataset: u64) -> Result<()> {
        let root = home.dir();
        let failed = |to: &Path| {
            let path = to.to_owned();
            move |error: io::Error| home.failure("write", &path, &error)
        };
        let work = match home.work_root().open_dir(dataset.to_string()) {
            // All that was in it has been moved before.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            work => work.map_err(|error| home.failure("open", &home.job().work(), &error))?,
        };
        let mut moved = HashSet::new();
        let folders = std::mem::take(&mut self.folders);
        for one in &folders {
            let to = Path::new(&one.to);
            root.create_dir_all(to.parent().unwrap_or(Path::new(""))).map_err(failed(to))?;
            match gone(work.rename(one.from.as_path(), root, to)) {
                // Somebody else has made a folder of that name: the files go into it.
                Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
                done => {
                    done.map_err(failed(to))?;
                    moved.insert(one.from.as_path());
                }
            }
        }
        let base = Path::new(RESULTS).join(home.job().root().file_name().unwrap_or_default());
        let (mut into, mut out_of) = (Opened::default(), Opened::default());
        for one in self.moves() {
            let (one, _) = one?;
            let to = Path::new(&one.result.path).strip_prefix(&base).unwrap_or(Path::new(""));
            if one.result.path.ends_with('/') {
                root.create_dir_all(to).map_err(failed(to))?;
                continue;
            }
            let from = one.from.as_ref().map(Raw::as_path);
            if from.and_then(Path::parent).is_some_and(|folder| moved.contains(folder)) {
                continue;
            }
            let (above, name) = split(to);
            let into = into.at(root, above, true).map_err(failed(to))?;
            if let Some(text) = &one.link {
                link(into, name, text).map_err(failed(to))?;
            }
            let Some((from, own_name)) = from.map(split) else { continue };
            // A folder that is not there has been moved or emptied before.
            let Ok(out_of) = out_of.at(&work, from, false) else { continue };
            let done = match &one.link {
                Some(_) => out_of.remove_file(own_name),
                None => out_of.rename(own_name, into, name),
            };
            gone(done).map_err(failed(to))?;
        }
        Ok(())
    }
}

fn broken(shown: &Path, error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Io, format!("cannot read `{}`: {error}", shown.display()))
}

/// The folder that was opened last: what comes next mostly lies in the same.
#[derive(Default)]
struct Opened(Option<(PathBuf, Dir)>);

impl Opened {
    fn at(&mut self, root: &Dir, path: &Path, make: bool) -> io::Result<&Dir> {
        if self.0.as_ref().is_none_or(|(opened, _)| opened != path) {
            self.0 = None;
            if make {
                root.create_dir_all(path)?;
            }
            let dir = if path.as_os_str().is_empty() { root.try_clone()? } else { root.open_dir(path)? };
            return Ok(&self.0.insert((path.to_owned(), dir)).1);
        }
        self.0.as_ref().map(|(_, dir)| dir).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// A path's folder and its last name.
fn split(path: &Path) -> (&Path, &Path) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().map_or(path, Path::new))
}

/// Makes a link, or one anew that is there already.
fn link(root: &Dir, to: &Path, text: &str) -> io::Result<()> {
    if root.read_link_contents(to).is_ok_and(|there| there == Path::new(text)) {
        return Ok(());
    }
    gone(root.remove_file(to))?;
    root.symlink_contents(text, to)
}

/// What is gone has been moved before.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
