//! Assigns each finding its path in the results.
//!
//! The results of the only dataset of a submission are in `process_results` itself; those of several datasets each in a
//! folder with the dataset's label, so that nothing has to be decided between them, on whatever machine they run. A
//! name may still be taken, for example by the config: a file with the same content is kept once, one with other
//! content gets another folder. The assignment is a pure function of the findings and of the destination's content.
//! Only the index of the chosen candidate is stored with a finding: its path is derived when it is needed.

mod links;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{END_FILE, LOGS, PROCESS_RESULTS};
use ncaas_core::record::fields::ResultFile;
use ncaas_core::text::strip_folder;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::findings::{Content, Findings, FoundEntry, FoundFile, RawPath};
use crate::container_paths::{ContainerPaths, ResultPath};

/// The content of the destination at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Nothing, or an earlier result of the same dataset that may be replaced.
    Nothing,
    /// The same content.
    Same,
    /// Something else.
    Other,
}

/// The job's folder, in which paths are assigned.
pub(crate) trait Destination {
    /// The content at the path of a file.
    fn find_file(&self, path: &str, file: &FoundFile) -> Result<Existing>;

    /// The content at the path of a folder.
    fn find_folder(&self, path: &str) -> Result<Existing>;

    /// The content at the path of a link with that target.
    fn find_link(&self, path: &str, target: &str) -> Result<Existing>;

    /// Whether nothing exists at the path of a folder.
    fn lacks(&self, folder: &str) -> bool;
}

/// The candidates for a path in the results.
#[derive(Debug)]
pub(crate) struct Naming {
    pub(crate) paths: ContainerPaths,
    /// The job's folder relative to the io-dir.
    pub(crate) base: String,
    /// The dataset's label.
    pub(crate) label: String,
    /// Whether the dataset has a separate folder, because its submission has several.
    pub(crate) has_own_folder: bool,
}

/// Findings with their paths.
#[derive(Debug)]
pub(crate) struct NamedFindings {
    list: Vec<FoundEntry>,
    naming: Naming,
    /// Folders to move as a whole, before all else.
    pub(crate) folders: Vec<FolderMove>,
    pub(crate) warnings: Vec<String>,
    /// See [`Findings::uncollected`].
    pub(crate) uncollected: u64,
}

/// One result on its way to its path.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Present location relative to the dataset's work folder; `None` for what is created at its path.
    pub(crate) from: Option<RawPath>,
    pub(crate) link: Option<String>,
    pub(crate) result: ResultFile,
}

/// A folder that is moved with all its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderMove {
    /// Present location relative to the dataset's work folder.
    pub(crate) from: RawPath,
    /// Relative to the job's folder.
    pub(crate) to: String,
}

impl NamedFindings {
    /// The moves of all findings that have a path. `partial` marks the results of a job that did not succeed.
    pub(crate) fn moves(&self, partial: bool) -> impl Iterator<Item = Move> + '_ {
        self.list.iter().filter_map(move |finding| {
            let to = self.naming.assigned_path(finding)?;
            let mut result = ResultFile {
                path: format!("{}/{to}", self.naming.base),
                source: finding.source.to_string(),
                partial,
                ..ResultFile::default()
            };
            let mut link = None;
            match &finding.content {
                Content::File(file) => {
                    result.size = file.size;
                    result.sha256 = Some(hex::encode(file.sha256));
                }
                Content::Link { target, .. } => link = Some(target.to_string()),
                Content::EmptyFolder => result.path.push('/'),
            }
            let from = finding.location(&self.naming.paths).map(|location| location.into_owned());
            Some(Move { from, link, result })
        })
    }
}

impl Naming {
    /// A candidate for a path, relative to the job's folder. Candidate 0 is the path itself.
    fn candidate(&self, path: &ResultPath, index: u16) -> String {
        let label = &self.label;
        // Candidates of a dataset with its own folder begin with that folder.
        let index = if self.has_own_folder { index.saturating_add(1) } else { index };
        match (path, index) {
            (ResultPath::Result(path), 0) => format!("{PROCESS_RESULTS}/{path}"),
            (ResultPath::Result(path), 1) => format!("{PROCESS_RESULTS}/{label}/{path}"),
            (ResultPath::Result(path), n) => format!("{PROCESS_RESULTS}/{label}~{n}/{path}"),
            (ResultPath::Log(path), 0 | 1) => format!("{LOGS}/{label}/{path}"),
            (ResultPath::Log(path), n) => format!("{LOGS}/{label}~{n}/{path}"),
        }
    }

    /// Whether the platform uses the path itself: its pollers wait for `process_results/end.txt`.
    fn is_reserved(path: &str) -> bool {
        let rest = path.strip_prefix(PROCESS_RESULTS).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| strip_folder(rest, END_FILE).is_some())
    }

    /// The path that was assigned to a finding, relative to the job's folder.
    fn assigned_path(&self, finding: &FoundEntry) -> Option<String> {
        Some(self.candidate(&self.paths.result_path(&finding.source)?, finding.name?))
    }
}

/// Assigns a path to each finding.
pub(crate) fn assign_names(
    findings: Findings,
    naming: Naming,
    destination: &impl Destination,
) -> Result<NamedFindings> {
    let Findings { mut list, folders, mut warnings, uncollected } = findings;
    let mut assigner = Assigner {
        destination,
        naming: &naming,
        taken: PathSet::default(),
        folders: HashSet::new(),
        lacking: RefCell::default(),
    };
    for finding in &mut list {
        if let Content::File(file) = &finding.content {
            finding.name = Some(assigner.assign_file(&finding.source, file)?);
        }
    }
    let folders = assigner.plan_folder_moves(&folders, &list);
    for finding in list.iter_mut().filter(|finding| matches!(finding.content, Content::EmptyFolder)) {
        finding.name = assigner.assign_folder(&finding.source)?;
    }
    assigner.assign_links(&mut list)?;
    for finding in &list {
        if matches!(finding.content, Content::Link { .. }) && finding.name.is_none() {
            warnings.left_out(&finding.source, "it is a link that leads out of the results, or to nothing");
        }
    }
    Ok(NamedFindings { list, naming, folders, warnings: warnings.into_messages(), uncollected })
}

struct Assigner<'a, D> {
    destination: &'a D,
    naming: &'a Naming,
    /// Assigned paths, relative to the job's folder.
    taken: PathSet,
    /// Folders that contain assigned paths, and assigned empty folders.
    folders: HashSet<String>,
    /// Whether the destination lacks a folder, for each folder that was looked up.
    lacking: RefCell<HashMap<String, bool>>,
}

/// A set of paths, stored as keyed hashes: a million paths need little memory. If two paths have the same hash, the
/// second would only get another name.
#[derive(Debug, Default)]
struct PathSet {
    key: RandomState,
    hashes: HashSet<u64>,
}

impl PathSet {
    fn contains(&self, path: &str) -> bool {
        self.hashes.contains(&self.key.hash_one(path))
    }

    fn insert(&mut self, path: &str) {
        self.hashes.insert(self.key.hash_one(path));
    }
}

impl<D: Destination> Assigner<'_, D> {
    fn assign_file(&mut self, source: &str, file: &FoundFile) -> Result<u16> {
        let (path, index) = self.choose(source, |assigner, path| {
            if path.rsplit_once('/').is_some_and(|(folder, _)| assigner.lacks(folder)) {
                return Ok(Existing::Nothing);
            }
            assigner.destination.find_file(path, file)
        })?;
        self.reserve(&path);
        Ok(index)
    }

    /// Assigns a path to an empty folder, unless another result was assigned a path below it.
    fn assign_folder(&mut self, source: &str) -> Result<Option<u16>> {
        let own = self.naming.paths.result_path(source);
        if own.is_some_and(|path| self.folders.contains(&self.naming.candidate(&path, 0))) {
            return Ok(None);
        }
        let (path, index) = self.choose(source, |assigner, path| assigner.destination.find_folder(path))?;
        self.reserve(&path);
        self.folders.insert(path);
        Ok(Some(index))
    }

    /// The folders whose files all keep their names and go to one folder that does not exist yet: each moves as a
    /// whole.
    fn plan_folder_moves(&self, complete: &[RawPath], list: &[FoundEntry]) -> Vec<FolderMove> {
        let mut goals: HashMap<&Path, Option<String>> =
            complete.iter().map(|folder| (folder.as_path(), None)).collect();
        for finding in list {
            let (Some(from), Some(to)) = (finding.location(&self.naming.paths), self.naming.assigned_path(finding))
            else {
                continue;
            };
            let from = from.as_path();
            let Some(goal) = from.parent().and_then(|folder| goals.get_mut(folder)) else { continue };
            let (folder, name) = to.rsplit_once('/').unwrap_or_default();
            let fits = from.file_name().is_some_and(|own| own == name)
                && goal.as_ref().is_none_or(|goal| goal == folder)
                && self.lacks(folder);
            if !fits {
                from.parent().and_then(|folder| goals.remove(folder));
            } else if goal.is_none() {
                *goal = Some(folder.to_owned());
            }
        }
        let mut sorted: Vec<(String, &Path)> =
            goals.into_iter().filter_map(|(from, goal)| Some((goal?, from))).collect();
        // Outer folders first, so that a folder exists before others move into it.
        sorted.sort_unstable();
        sorted.dedup_by(|a, b| a.0 == b.0);
        sorted.into_iter().map(|(to, from)| FolderMove { from: RawPath::new(from), to }).collect()
    }

    /// Marks a path as assigned, and the folders above it as folders.
    fn reserve(&mut self, path: &str) {
        let mut above = path;
        while let Some((folder, _)) = above.rsplit_once('/') {
            // Folders further out were added with this one.
            if self.folders.contains(folder) {
                break;
            }
            self.folders.insert(folder.to_owned());
            above = folder;
        }
        self.taken.insert(path);
    }

    /// The first candidate that is free or holds the same content, and its index.
    fn choose(&self, source: &str, find_existing: impl Fn(&Self, &str) -> Result<Existing>) -> Result<(String, u16)> {
        // Every finding has a path in the results.
        let path = self.naming.paths.result_path(source).unwrap_or(ResultPath::Result(source.to_owned()));
        for index in 0..u16::MAX {
            let candidate = self.naming.candidate(&path, index);
            if !Naming::is_reserved(&candidate)
                && !self.is_taken(&candidate)
                && find_existing(self, &candidate)? != Existing::Other
            {
                return Ok((candidate, index));
            }
        }
        Err(Failure::new(Kind::NameInUse, format!("no free name is left for `{source}` among the results")))
    }

    /// Whether the path, or one that cannot exist beside it, was assigned before.
    fn is_taken(&self, path: &str) -> bool {
        let mut above = std::iter::successors(path.rsplit_once('/'), |(folder, _)| folder.rsplit_once('/'));
        self.taken.contains(path)
            || self.folders.contains(path)
            || above.any(|(folder, _)| self.taken.contains(folder) && !self.folders.contains(folder))
    }

    /// Whether the destination lacks a folder; looked up once, because every file in the folder asks.
    fn lacks(&self, folder: &str) -> bool {
        if let Some(&known) = self.lacking.borrow().get(folder) {
            return known;
        }
        let lacks = self.destination.lacks(folder);
        self.lacking.borrow_mut().insert(folder.to_owned(), lacks);
        lacks
    }
}
