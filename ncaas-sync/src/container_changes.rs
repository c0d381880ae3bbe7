//! The paths that a container changed in its own file system, and the archives to request for them.
//!
//! An archive request costs about 86 ms whatever its size, and the archive of a folder includes its unchanged files. So
//! a new folder is one request, and a few changed files in an old folder are one request each. Many changed files in an
//! old folder are fetched as a whole folder, but only while that is faster than single requests for the missing files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bollard::models::ChangeType;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;
use ncaas_core::text::strip_folder;

use crate::container_paths::ContainerPaths;
use crate::path_text::normalize;

/// Above this many changed files in one old folder, request the whole folder.
const MANY_FILES: usize = 4;
/// Above this many requests, request whole folders two levels below the root.
const MANY_REQUESTS: usize = 24;
/// Unwanted bytes that cost as much as one request: what an engine sends in that time.
const BYTES_PER_REQUEST: u64 = 32 << 20;

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChangeKind {
    Added,
    Changed,
    Deleted,
}

/// Wanted paths and how each changed.
pub(crate) type Wanted = HashMap<String, ChangeKind>;

#[derive(Debug, Clone)]
pub(crate) struct ArchiveRequest {
    /// Absolute path in the container.
    pub(crate) root: String,
    /// The wanted paths; `None` for all.
    pub(crate) wanted: Option<Arc<Wanted>>,
    /// Folders whose content is left out.
    pub(crate) excluded: Vec<String>,
    /// Whether the archive may hold unwanted files, so that it can be faster to stop and request single files.
    pub(crate) may_stop: bool,
}

impl ArchiveRequest {
    /// The whole content of `path`.
    pub(crate) fn everything(path: String) -> ArchiveRequest {
        ArchiveRequest { root: path, wanted: None, excluded: Vec::new(), may_stop: false }
    }

    /// One path alone.
    pub(crate) fn single(path: &str, wanted: &Arc<Wanted>) -> ArchiveRequest {
        ArchiveRequest {
            root: path.to_owned(),
            wanted: Some(Arc::clone(wanted)),
            excluded: Vec::new(),
            may_stop: false,
        }
    }

    /// Whether the content of a path is left out.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.excluded.iter().any(|folder| strip_folder(path, folder).is_some())
    }

    /// Whether the `unwanted` bytes received so far cost more than requests for the paths that were not `seen` yet.
    pub(crate) fn is_wasteful(&self, seen: usize, unwanted: u64) -> bool {
        let missing = self.wanted.as_ref().map_or(0, |wanted| wanted.len()).saturating_sub(seen) as u64;
        self.may_stop && unwanted > missing.saturating_mul(BYTES_PER_REQUEST)
    }
}

/// The changes of a container outside its mounts, sorted by path.
pub(crate) async fn list_changes(engine: &Engine, paths: &ContainerPaths) -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = engine
        .changes(&paths.id)
        .await?
        .into_iter()
        .filter(|change| !paths.is_mounted(&change.path))
        .map(|change| Change {
            path: change.path,
            kind: match change.kind {
                ChangeType::_1 => ChangeKind::Added,
                ChangeType::_2 => ChangeKind::Deleted,
                _ => ChangeKind::Changed,
            },
        })
        .collect();
    changes.sort();
    Ok(changes)
}

pub(crate) fn parent_folders(changes: &[Change]) -> BTreeSet<&str> {
    changes.iter().filter_map(|change| change.path.rsplit_once('/')).map(|(folder, _)| folder).collect()
}

/// The changes that are content themselves: no deleted paths, and no folders with changes in them.
pub(crate) fn leaves<'c>(changes: &'c [Change], parents: &BTreeSet<&str>) -> impl Iterator<Item = &'c Change> {
    changes.iter().filter(|change| change.kind != ChangeKind::Deleted && !parents.contains(change.path.as_str()))
}

/// The archives to request for the `wanted` ones of all `changes`.
pub(crate) fn plan_requests(changes: &[Change], wanted: &Arc<Wanted>) -> Vec<ArchiveRequest> {
    let added: HashSet<&str> =
        changes.iter().filter(|change| change.kind == ChangeKind::Added).map(|change| change.path.as_str()).collect();
    let roots: BTreeSet<&str> = wanted.keys().map(|path| outermost_added(path, &added)).collect();
    let mut by_folder: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for root in roots {
        by_folder.entry(root.rsplit_once('/').map_or("", |(folder, _)| folder)).or_default().push(root);
    }
    let requests: usize = by_folder.values().map(|roots| if roots.len() > MANY_FILES { 1 } else { roots.len() }).sum();
    if requests > MANY_REQUESTS {
        by_folder = merge_by_top_folder(by_folder);
    }
    let mut planned = Vec::new();
    for (folder, roots) in by_folder {
        if roots.len() > MANY_FILES && !folder.is_empty() {
            planned.push(ArchiveRequest { may_stop: true, ..ArchiveRequest::single(folder, wanted) });
        } else {
            planned.extend(roots.into_iter().map(|root| ArchiveRequest::single(root, wanted)));
        }
    }
    planned
}

/// The outermost added folder that contains `path`, or the path itself.
fn outermost_added<'p>(path: &'p str, added: &HashSet<&str>) -> &'p str {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.map(|end| &path[..end]).find(|folder| added.contains(folder)).unwrap_or(path)
}

/// The same roots by the folder two levels below the root: `/home/u`.
fn merge_by_top_folder<'p>(by_folder: BTreeMap<&'p str, Vec<&'p str>>) -> BTreeMap<&'p str, Vec<&'p str>> {
    let mut merged: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (folder, roots) in by_folder {
        let end = folder.match_indices('/').nth(2).map_or(folder.len(), |(at, _)| at);
        merged.entry(&folder[..end]).or_default().extend(roots);
    }
    merged
}

/// The folder that the names in an archive of `root` are relative to, and the absolute path of the entry `name`.
///
/// Podman names the entries of a mount relative to the mount, with a leading `/`.
pub(crate) fn entry_path<'r>(root: &'r str, name: &[u8]) -> (&'r str, String) {
    let parent = root.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    match name.strip_prefix(b"/") {
        Some([]) => (root, root.to_owned()),
        Some(rest) => (root, listed_path(root.trim_end_matches('/'), rest)),
        None => (parent, listed_path(parent, name)),
    }
}

/// The path as the engine's list of changes has it, which is UTF-8.
pub(crate) fn listed_path(base: &str, name: &[u8]) -> String {
    let mut path = format!("{base}/");
    for chunk in name.utf8_chunks() {
        path.push_str(chunk.valid());
        // Go's JSON encoder writes this character for every invalid byte.
        path.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    normalize(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(lines: &[&str]) -> Vec<(String, bool)> {
        let mut changes: Vec<Change> = lines
            .iter()
            .map(|line| Change {
                path: line[2..].to_owned(),
                kind: if line.starts_with('A') { ChangeKind::Added } else { ChangeKind::Changed },
            })
            .collect();
        changes.sort();
        let parents = parent_folders(&changes);
        let wanted = Arc::new(leaves(&changes, &parents).map(|change| (change.path.clone(), change.kind)).collect());
        plan_requests(&changes, &wanted).into_iter().map(|request| (request.root, request.may_stop)).collect()
    }

    #[test]
    fn a_new_folder_is_one_archive() {
        let planned = plan(&["C /h", "C /h/u", "A /h/u/out", "A /h/u/out/a", "A /h/u/out/sub", "A /h/u/out/sub/b"]);
        assert_eq!(planned, [("/h/u/out".to_owned(), false)]);
    }

    #[test]
    fn few_files_in_an_old_folder_are_single_requests_and_many_are_one() {
        assert_eq!(plan(&["C /h", "A /h/a", "C /h/b"]), [("/h/a".to_owned(), false), ("/h/b".to_owned(), false)]);
        let lines: Vec<String> = (0..9).map(|n| format!("A /h/{n}")).chain(["C /h".to_owned()]).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(plan(&lines), [("/h".to_owned(), true)]);
    }

    #[test]
    fn the_root_is_never_requested_as_a_whole() {
        let lines: Vec<String> = (0..9).map(|n| format!("A /{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(plan(&lines).len(), 9);
    }
}
