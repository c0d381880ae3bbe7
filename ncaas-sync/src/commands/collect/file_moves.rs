//! Carries out the moves of a journal: steps on the file system that can all be repeated.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::findings::RawPath;
use super::result_names::Move;

/// One change of the file system. Each can be repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileStep<'s> {
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
pub(super) fn steps<'s>(entry: &'s Move, to: &'s Path, moved: &HashSet<&Path>) -> Vec<FileStep<'s>> {
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
pub(super) struct Mover<'m> {
    root: &'m Dir,
    work: &'m Dir,
    to: LastFolder,
    from: LastFolder,
}

impl<'m> Mover<'m> {
    pub(super) fn new(root: &'m Dir, work: &'m Dir) -> Self {
        Mover { root, work, to: LastFolder::default(), from: LastFolder::default() }
    }

    /// Moves a whole folder. Returns false if a folder with that name exists; its files must then be moved one by one.
    pub(super) fn move_folder(&self, from: &Path, to: &Path) -> io::Result<bool> {
        self.root.create_dir_all(parent(to))?;
        match ignore_missing(self.work.rename(from, self.root, to)) {
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(false),
            moved => moved.map(|()| true),
        }
    }

    pub(super) fn carry_out(&mut self, step: &FileStep<'_>) -> io::Result<()> {
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

/// The folder that was opened last: the next file is mostly in the same one.
#[derive(Default)]
struct LastFolder(Option<(PathBuf, Dir)>);

impl LastFolder {
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
                let mut mover = Mover::new(&root, &work);
                steps.iter().for_each(|step| mover.carry_out(step).unwrap());
            }
            let mut found = BTreeMap::new();
            tree(&root, "", &mut found);
            assert_eq!(found, expected, "interrupted after {done} steps");
            assert_eq!(work.open_dir("0").unwrap().entries().unwrap().count(), 0);
        }
    }
}
