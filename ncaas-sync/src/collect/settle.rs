//! Everything that was found gets its final name.
//!
//! The datasets of a submission share their results' folder, so a name may be taken. The same content is kept once;
//! another comes to lie under the dataset's label. What goes where is written down before anything is moved, so that a
//! process that is killed in between is finished by the next one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::RESULTS;

use super::decided::{Decided, Naming};
use super::found::{File, Finds, Found, Raw, What};
use super::home::Home;
use super::journal::FolderMove;
use super::places::{Place, Places, is_reserved};
use super::stage::{PIECE, sum};
use crate::names;

/// Decides where each of the finds goes. `earlier` are the paths of results that this dataset left here in an earlier
/// run, and nobody else shares: they may be replaced.
pub(crate) fn decide(
    home: &Home,
    finds: Finds,
    places: Places,
    partial: bool,
    earlier: &HashSet<String>,
) -> Result<Decided> {
    let folder = home.job();
    let job = names::path_text(folder.root().file_name().unwrap_or_default().as_ref());
    let naming = Naming { places, base: format!("{RESULTS}/{job}"), label: folder.label().to_owned() };
    let mut deciding = Deciding {
        home,
        root: home.dir(),
        naming: &naming,
        earlier,
        taken: Taken::default(),
        folders: HashSet::new(),
        missing: RefCell::default(),
    };
    let Finds { mut found, folders, mut warnings } = finds;
    for found in &mut found {
        if let What::File(file) = &found.what {
            found.named = Some(deciding.file(&found.source, file)?);
        }
    }
    let folders = deciding.in_one_move(&folders, &found);
    for found in found.iter_mut().filter(|found| matches!(found.what, What::Folder)) {
        found.named = deciding.folder(&found.source)?;
    }
    deciding.links(&mut found)?;
    for found in &found {
        if matches!(found.what, What::Link { .. }) && found.named.is_none() {
            warnings.left_out(&found.source, "it is a link that leads out of the results, or nowhere");
        }
    }
    Ok(Decided { found, naming, partial, folders, warnings: warnings.into_words() })
}

struct Deciding<'d> {
    home: &'d Home,
    root: &'d Dir,
    naming: &'d Naming,
    earlier: &'d HashSet<String>,
    /// Final paths given out, relative to the job's folder.
    taken: Taken,
    /// Final folders given out, or known to be folders.
    folders: HashSet<String>,
    /// Whether a folder is not there yet, as far as that has been looked at.
    missing: RefCell<HashMap<String, bool>>,
}

/// Paths that have been given out, as sums with a key of their own: a million of them take little room, and of two that had
/// the same sum the second would only get another name.
#[derive(Debug, Default)]
struct Taken {
    key: RandomState,
    sums: HashSet<u64>,
}

impl Taken {
    fn contains(&self, path: &str) -> bool {
        self.sums.contains(&self.key.hash_one(path))
    }

    fn insert(&mut self, path: &str) {
        self.sums.insert(self.key.hash_one(path));
    }
}

/// What may lie where a result would go.
enum There {
    Nothing,
    SameContent,
    Another,
}

impl Deciding<'_> {
    fn file(&mut self, source: &str, file: &File) -> Result<u16> {
        let (to, named) = self.choose(source, |deciding, to| deciding.file_at(to, file))?;
        self.add(&to);
        Ok(named)
    }

    /// Names an empty folder, unless something lies in it by now.
    fn folder(&mut self, source: &str) -> Result<Option<u16>> {
        let place = self.naming.places.of_path(source);
        if place.is_some_and(|place| self.folders.contains(&self.naming.path(&place, 0))) {
            return Ok(None);
        }
        let (to, named) = self.choose(source, |deciding, to| match deciding.root.symlink_metadata(to) {
            Ok(metadata) if metadata.is_dir() => Ok(There::SameContent),
            Ok(_) => Ok(There::Another),
            Err(error) => deciding.nothing(to, &error),
        })?;
        self.add(&to);
        self.folders.insert(to);
        Ok(Some(named))
    }

    /// Names links, but for those that lead to nothing that has a name.
    fn links(&mut self, found: &mut [Found]) -> Result<()> {
        let mut links: Vec<usize> =
            (0..found.len()).filter(|&at| matches!(found[at].what, What::Link { .. })).collect();
        if links.is_empty() {
            return Ok(());
        }
        let mut by_source: Vec<usize> = (0..found.len()).collect();
        by_source.sort_unstable_by(|&a, &b| found[a].source.cmp(&found[b].source));
        // A link may lead to another one.
        loop {
            let before = links.len();
            let mut left = Vec::new();
            for at in links {
                match self.led_to(found, &by_source, at) {
                    Some(led_to) => {
                        let (named, text) = self.link(&found[at].source, &led_to)?;
                        found[at].named = Some(named);
                        if let What::Link { target, .. } = &mut found[at].what {
                            *target = text.into();
                        }
                    }
                    None => left.push(at),
                }
            }
            if left.len() == before {
                return Ok(());
            }
            links = left;
        }
    }

    fn link(&mut self, source: &str, led_to: &str) -> Result<(u16, String)> {
        let (to, named) = self.choose(source, |deciding, to| {
            let text = names::relative(to, led_to);
            match deciding.root.read_link_contents(to) {
                Ok(there) if there == Path::new(&text) => Ok(There::SameContent),
                Ok(_) => Ok(There::Another),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(There::Another),
                Err(error) => deciding.nothing(to, &error),
            }
        })?;
        self.add(&to);
        Ok((named, names::relative(&to, led_to)))
    }

    /// The final path of what a link in the container leads to, if it is among the results.
    fn led_to(&self, found: &[Found], by_source: &[usize], link: usize) -> Option<String> {
        let What::Link { target, .. } = &found[link].what else { return None };
        let path = if target.starts_with('/') {
            names::plain(target)
        } else {
            names::plain(&format!("{}/{target}", found[link].source.rsplit_once('/')?.0))
        };
        let from = |path: &str| {
            let first = by_source.partition_point(|&at| *found[at].source < *path);
            by_source[first..].iter().map(|&at| &found[at]).filter(|found| found.named.is_some())
        };
        if let Some(found) = from(&path).next().filter(|found| *found.source == *path) {
            return self.naming.path_of(found);
        }
        // A folder: where one of its files has got its own place below it.
        let inside = format!("{path}/");
        let below = from(&inside).next().filter(|found| found.source.starts_with(&inside))?;
        self.naming.path_of(below)?.strip_suffix(&below.source[path.len()..]).map(str::to_owned)
    }

    /// The folders whose files all go into one that is not there yet, under the names that they have: each is moved as
    /// it is.
    fn in_one_move(&self, whole: &[Raw], found: &[Found]) -> Vec<FolderMove> {
        let mut goals: HashMap<&Path, Option<String>> = whole.iter().map(|folder| (folder.as_path(), None)).collect();
        for found in found {
            let (Some(from), Some(to)) = (found.lies(&self.naming.places), self.naming.path_of(found)) else {
                continue;
            };
            let from = from.as_path();
            let Some(goal) = from.parent().and_then(|folder| goals.get_mut(folder)) else { continue };
            let (above, name) = to.rsplit_once('/').unwrap_or_default();
            let fits = from.file_name().is_some_and(|own| own == name)
                && goal.as_ref().is_none_or(|goal| goal == above)
                && self.is_missing(above);
            if !fits {
                from.parent().and_then(|folder| goals.remove(folder));
            } else if goal.is_none() {
                *goal = Some(above.to_owned());
            }
        }
        let mut sorted: Vec<(String, &Path)> =
            goals.into_iter().filter_map(|(from, goal)| Some((goal?, from))).collect();
        // What lies further out comes first, so that a folder is there before what goes into it.
        sorted.sort_unstable();
        sorted.dedup_by(|a, b| a.0 == b.0);
        sorted.into_iter().map(|(to, from)| FolderMove { from: Raw::of(from), to }).collect()
    }

    fn add(&mut self, to: &str) {
        let mut above = to;
        while let Some((folder, _)) = above.rsplit_once('/') {
            // Those further out have been added with it.
            if self.folders.contains(folder) {
                break;
            }
            self.folders.insert(folder.to_owned());
            above = folder;
        }
        self.taken.insert(to);
    }

    /// The first final path that is free, or holds the same already, and which of those it could have had.
    fn choose(&self, source: &str, there: impl Fn(&Self, &str) -> Result<There>) -> Result<(String, u16)> {
        // What was found has a place.
        let place = self.naming.places.of_path(source).unwrap_or(Place::Result(source.to_owned()));
        for attempt in 0..u16::MAX {
            let to = self.naming.path(&place, attempt);
            let reserved = attempt == 0 && is_reserved(&place);
            if !reserved && !self.is_taken(&to) && !matches!(there(self, &to)?, There::Another) {
                return Ok((to, attempt));
            }
        }
        Err(Failure::new(Kind::NameInUse, format!("`{source}` has no name left among the results")))
    }

    /// Whether this run has given out the path, or something that cannot be beside it.
    fn is_taken(&self, to: &str) -> bool {
        let mut on_the_way = std::iter::successors(to.rsplit_once('/'), |(above, _)| above.rsplit_once('/'));
        self.taken.contains(to)
            || self.folders.contains(to)
            || on_the_way.any(|(above, _)| self.taken.contains(above) && !self.folders.contains(above))
    }

    fn file_at(&self, to: &str, file: &File) -> Result<There> {
        if to.rsplit_once('/').is_some_and(|(folder, _)| self.is_missing(folder)) {
            return Ok(There::Nothing);
        }
        let metadata = match self.root.symlink_metadata(to) {
            Ok(metadata) => metadata,
            Err(error) => return self.nothing(to, &error),
        };
        if metadata.is_file() {
            if self.earlier.contains(&format!("{}/{to}", self.naming.base)) {
                return Ok(There::Nothing);
            }
            if metadata.len() == file.size {
                let mut content = self.root.open(to).map_err(|error| self.failure("read", to, &error))?;
                let (_, there) =
                    sum(&mut content, &mut vec![0; PIECE]).map_err(|error| self.failure("read", to, &error))?;
                if there == file.sha256 {
                    return Ok(There::SameContent);
                }
            }
        }
        Ok(There::Another)
    }

    /// Whether there is no such folder; looked at once, for this is asked for every file in it.
    fn is_missing(&self, folder: &str) -> bool {
        if let Some(&known) = self.missing.borrow().get(folder) {
            return known;
        }
        let missing = self.root.symlink_metadata(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        self.missing.borrow_mut().insert(folder.to_owned(), missing);
        missing
    }

    /// What an error means where a path was looked at.
    fn nothing(&self, to: &str, error: &io::Error) -> Result<There> {
        match error.kind() {
            io::ErrorKind::NotFound => Ok(There::Nothing),
            io::ErrorKind::NotADirectory => Ok(There::Another),
            _ => Err(self.failure("look at", to, error)),
        }
    }

    fn failure(&self, what: &str, to: &str, error: &io::Error) -> Failure {
        self.home.failure(what, Path::new(to), error)
    }
}
