//! Which archives to ask of the engine for a set of changed paths.
//!
//! A request costs some 86 ms whatever its size, and an archive of a folder sends also what has not changed in it. So a
//! folder that is new as a whole is one request, a few files in old folders are one request each, and where many changed
//! files lie in one old folder it is asked for as a whole, but no longer than the requests for what is still missing
//! would take.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::inside::{Change, How};

/// From how many files in one old folder on the folder is asked for as a whole.
const MANY: usize = 4;
/// From how many requests on the folders below the root are asked for as a whole.
const MANY_REQUESTS: usize = 24;
/// How many unwanted bytes cost as much as a request: what an engine sends in the time that one takes.
pub(crate) const BYTES_PER_REQUEST: u64 = 32 << 20;

/// Changed paths that are wanted, and how each has changed.
pub(crate) type Wanted = HashMap<String, How>;

/// One archive to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    /// Absolute path in the container.
    pub(crate) root: String,
    /// What is wanted of it; everything where it is none.
    pub(crate) wanted: Option<Arc<Wanted>>,
    /// Whether there may be more in it than is wanted, so that it can pay to give up and ask for single files.
    pub(crate) give_up: bool,
}

/// The paths among the changes that hold content: all but old folders, and folders with changes in them.
pub(crate) fn leaves<'c>(changes: &'c [Change], folders: &BTreeSet<&str>) -> impl Iterator<Item = &'c Change> {
    changes.iter().filter(|change| change.how != How::Deleted && !folders.contains(change.path.as_str()))
}

/// The archives to ask for. `changes` are all, `wanted` those of them that are to be had.
pub(crate) fn fetches(changes: &[Change], wanted: &Arc<Wanted>) -> Vec<Fetch> {
    let added: HashMap<&str, ()> =
        changes.iter().filter(|change| change.how == How::Added).map(|change| (change.path.as_str(), ())).collect();
    let roots: BTreeSet<&str> = wanted.keys().map(|path| root(path, &added)).collect();
    let mut by_folder: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for root in roots {
        by_folder.entry(folder(root)).or_default().push(root);
    }
    let requests: usize = by_folder.values().map(|roots| if roots.len() > MANY { 1 } else { roots.len() }).sum();
    if requests > MANY_REQUESTS {
        by_folder = above(by_folder);
    }
    let mut fetches = Vec::new();
    for (folder, roots) in by_folder {
        if roots.len() > MANY && !folder.is_empty() {
            fetches.push(Fetch { root: folder.to_owned(), wanted: Some(Arc::clone(wanted)), give_up: true });
        } else {
            fetches.extend(roots.into_iter().map(|root| single(root, wanted)));
        }
    }
    fetches
}

/// The archive of one path alone.
pub(crate) fn single(path: &str, wanted: &Arc<Wanted>) -> Fetch {
    Fetch { root: path.to_owned(), wanted: Some(Arc::clone(wanted)), give_up: false }
}

/// The outermost new folder that a path lies in, or the path itself.
fn root<'p>(path: &'p str, added: &HashMap<&str, ()>) -> &'p str {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.map(|end| &path[..end]).find(|folder| added.contains_key(folder)).unwrap_or(path)
}

/// The same, by the folder two levels below the root: `/home/u`.
fn above<'p>(by_folder: BTreeMap<&'p str, Vec<&'p str>>) -> BTreeMap<&'p str, Vec<&'p str>> {
    let mut merged: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (folder, roots) in by_folder {
        let end = folder.match_indices('/').nth(2).map_or(folder.len(), |(at, _)| at);
        merged.entry(&folder[..end]).or_default().extend(roots);
    }
    merged
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::inside::folders;

    fn planned(lines: &[&str]) -> Vec<(String, bool)> {
        let mut changes: Vec<Change> = lines
            .iter()
            .map(|line| Change {
                path: line[2..].to_owned(),
                how: if line.starts_with('A') { How::Added } else { How::Changed },
            })
            .collect();
        changes.sort();
        let folders = folders(&changes);
        let wanted = Arc::new(leaves(&changes, &folders).map(|change| (change.path.clone(), change.how)).collect());
        fetches(&changes, &wanted).into_iter().map(|fetch| (fetch.root, fetch.give_up)).collect()
    }

    #[test]
    fn a_new_folder_is_one_archive() {
        let planned = planned(&["C /h", "C /h/u", "A /h/u/out", "A /h/u/out/a", "A /h/u/out/sub", "A /h/u/out/sub/b"]);
        assert_eq!(planned, [("/h/u/out".to_owned(), false)]);
    }

    #[test]
    fn a_few_files_in_an_old_folder_are_fetched_singly_and_many_with_their_folder() {
        assert_eq!(planned(&["C /h", "A /h/a", "C /h/b"]), [("/h/a".to_owned(), false), ("/h/b".to_owned(), false)]);
        let lines: Vec<String> = (0..9).map(|n| format!("A /h/{n}")).chain(["C /h".to_owned()]).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(planned(&lines), [("/h".to_owned(), true)]);
    }

    #[test]
    fn the_root_is_never_fetched_as_a_whole() {
        let lines: Vec<String> = (0..9).map(|n| format!("A /{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(planned(&lines).len(), 9);
    }
}
