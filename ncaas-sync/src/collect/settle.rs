//! Everything that was found gets its final name.
//!
//! The datasets of a submission share their results' folder, so a name may be taken. The same content is kept once;
//! another comes to lie under the dataset's label. What goes where is written down before anything is moved, so that a
//! process that is killed in between is finished by the next one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::layout::{LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::record::fields::ResultFile;

use super::found::{Finds, Found, Raw, What};
use super::home::Home;
use super::journal::{FolderMove, Journal, Move};
use super::places::{Place, is_reserved};
use super::stage::{PIECE, sum};
use crate::names;

/// Decides where each of the finds goes. `earlier` are the paths of results that this dataset left here in an earlier
/// run, and nobody else shares: they may be replaced.
pub(crate) fn decide(home: &Home, finds: Finds, partial: bool, earlier: &HashSet<String>) -> Result<Journal> {
    let folder = home.job();
    let job = names::path_text(folder.root().file_name().unwrap_or_default().as_ref());
    let mut deciding = Deciding {
        home,
        root: home.dir(),
        label: folder.label(),
        base: format!("{RESULTS}/{job}"),
        partial,
        earlier,
        taken: HashSet::new(),
        folders: HashSet::new(),
        missing: RefCell::default(),
        moves: Vec::with_capacity(finds.found.len()),
    };
    let mut warnings = finds.warnings;
    let (mut links, mut empty) = (Vec::new(), Vec::new());
    for found in finds.found {
        match found.what {
            What::File { .. } => deciding.file(found)?,
            What::Link { .. } => links.push(found),
            What::Folder => empty.push(found),
        }
    }
    let folders = deciding.in_one_move(&finds.folders);
    for found in empty {
        deciding.folder(found)?;
    }
    for found in deciding.links(links)? {
        warnings.left_out(&found.source, "it is a link that leads out of the results, or nowhere");
    }
    let mut moves = deciding.moves;
    moves.sort_by(|a, b| a.result.path.cmp(&b.result.path));
    Ok(Journal { folders, moves, warnings: warnings.into_words() })
}

struct Deciding<'d> {
    home: &'d Home,
    root: &'d Dir,
    label: &'d str,
    /// The job's folder, relative to the io-dir.
    base: String,
    partial: bool,
    earlier: &'d HashSet<String>,
    /// Final paths given out, relative to the job's folder.
    taken: HashSet<String>,
    /// Final folders given out, or known to be folders.
    folders: HashSet<String>,
    /// Whether a folder is not there yet, as far as that has been looked at.
    missing: RefCell<HashMap<String, bool>>,
    moves: Vec<Move>,
}

/// What may lie where a result would go.
enum There {
    Nothing,
    SameContent,
    Another,
}

impl Deciding<'_> {
    fn file(&mut self, found: Found) -> Result<()> {
        let What::File { lies, size, sha256 } = found.what else { return Ok(()) };
        let to = self.choose(&found.place, |deciding, to| deciding.file_at(to, size, &sha256))?;
        self.add(&found.source, to, Some(lies), None, ResultFile { size, sha256: Some(sha256), ..Default::default() });
        Ok(())
    }

    fn folder(&mut self, found: Found) -> Result<()> {
        if matches!(&found.place, Place::Result(path) if self.folders.contains(&format!("{PROCESS_RESULTS}/{path}"))) {
            return Ok(());
        }
        let to = self.choose(&found.place, |deciding, to| match deciding.root.symlink_metadata(to) {
            Ok(metadata) if metadata.is_dir() => Ok(There::SameContent),
            Ok(_) => Ok(There::Another),
            Err(error) => deciding.nothing(to, &error),
        })?;
        self.folders.insert(to.clone());
        self.add(&found.source, format!("{to}/"), None, None, ResultFile::default());
        Ok(())
    }

    /// Places links, and gives back those that lead to nothing that has a place.
    fn links(&mut self, mut links: Vec<Found>) -> Result<Vec<Found>> {
        if links.is_empty() {
            return Ok(links);
        }
        let base = self.base.len() + 1;
        let end = |moved: &Move| moved.result.path[base..].trim_end_matches('/').to_owned();
        let mut finals: BTreeMap<String, String> =
            self.moves.iter().map(|moved| (moved.result.source.clone(), end(moved))).collect();
        // A link may lead to another one.
        loop {
            let before = links.len();
            let mut left = Vec::new();
            for found in links {
                match led_to(&finals, &found) {
                    Some(led_to) => {
                        let source = found.source.clone();
                        let to = self.link(found, &led_to)?;
                        finals.insert(source, to);
                    }
                    None => left.push(found),
                }
            }
            if left.len() == before {
                return Ok(left);
            }
            links = left;
        }
    }

    fn link(&mut self, found: Found, led_to: &str) -> Result<String> {
        let to = self.choose(&found.place, |deciding, to| {
            let text = names::relative(to, led_to);
            match deciding.root.read_link_contents(to) {
                Ok(there) if there == Path::new(&text) => Ok(There::SameContent),
                Ok(_) => Ok(There::Another),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(There::Another),
                Err(error) => deciding.nothing(to, &error),
            }
        })?;
        let text = names::relative(&to, led_to);
        let lies = if let What::Link { lies, .. } = found.what { lies } else { None };
        self.add(&found.source, to.clone(), lies, Some(text), ResultFile::default());
        Ok(to)
    }

    /// The folders whose files all go into one that is not there yet, under the names that they have: each is moved as
    /// it is.
    fn in_one_move(&self, whole: &[Raw]) -> Vec<FolderMove> {
        let mut goals: HashMap<&Path, Option<&str>> = whole.iter().map(|folder| (folder.as_path(), None)).collect();
        for moved in &self.moves {
            let Some(from) = moved.from.as_ref().map(Raw::as_path) else { continue };
            let Some(folder) = from.parent().filter(|folder| goals.contains_key(folder)) else { continue };
            let (above, name) = moved.result.path.rsplit_once('/').unwrap_or_default();
            let fits = from.file_name().is_some_and(|own| own == name)
                && goals[folder].is_none_or(|goal| goal == above)
                && above.strip_prefix(&self.base).is_some_and(|to| self.is_missing(to.trim_start_matches('/')));
            if fits {
                goals.insert(folder, Some(above));
            } else {
                goals.remove(folder);
            }
        }
        let mut sorted: Vec<(&str, &Path)> = goals.into_iter().filter_map(|(from, goal)| Some((goal?, from))).collect();
        // What lies further out comes first, so that a folder is there before what goes into it.
        sorted.sort_unstable();
        sorted.dedup_by_key(|(goal, _)| *goal);
        let base = self.base.len() + 1;
        sorted.into_iter().map(|(goal, from)| FolderMove { from: Raw::of(from), to: goal[base..].to_owned() }).collect()
    }

    fn add(&mut self, source: &str, to: String, from: Option<Raw>, link: Option<String>, mut result: ResultFile) {
        let mut above = to.trim_end_matches('/');
        while let Some((folder, _)) = above.rsplit_once('/') {
            // Those further out have been added with it.
            if self.folders.contains(folder) {
                break;
            }
            self.folders.insert(folder.to_owned());
            above = folder;
        }
        self.taken.insert(to.trim_end_matches('/').to_owned());
        result.path = format!("{}/{to}", self.base);
        result.source = source.to_owned();
        result.partial = self.partial;
        self.moves.push(Move { from, link, result });
    }

    /// The first final path that is free, or holds the same already.
    fn choose(&self, place: &Place, there: impl Fn(&Self, &str) -> Result<There>) -> Result<String> {
        let label = self.label;
        let mut attempt = 0;
        loop {
            let to = match (place, attempt) {
                (Place::Result(path), 0) => format!("{PROCESS_RESULTS}/{path}"),
                (Place::Result(path), 1) => format!("{PROCESS_RESULTS}/{label}/{path}"),
                (Place::Result(path), n) => format!("{PROCESS_RESULTS}/{label}~{n}/{path}"),
                (Place::Log(path), 0) => format!("{LOGS}/{label}/{path}"),
                (Place::Log(path), n) => format!("{LOGS}/{label}~{n}/{path}"),
            };
            let reserved = attempt == 0 && is_reserved(place);
            if !reserved && !self.is_taken(&to) && !matches!(there(self, &to)?, There::Another) {
                return Ok(to);
            }
            attempt += 1;
        }
    }

    /// Whether this run has given out the path, or something that cannot be beside it.
    fn is_taken(&self, to: &str) -> bool {
        let mut on_the_way = std::iter::successors(to.rsplit_once('/'), |(above, _)| above.rsplit_once('/'));
        self.taken.contains(to)
            || self.folders.contains(to)
            || on_the_way.any(|(above, _)| self.taken.contains(above) && !self.folders.contains(above))
    }

    fn file_at(&self, to: &str, size: u64, sha256: &str) -> Result<There> {
        if to.rsplit_once('/').is_some_and(|(folder, _)| self.is_missing(folder)) {
            return Ok(There::Nothing);
        }
        let metadata = match self.root.symlink_metadata(to) {
            Ok(metadata) => metadata,
            Err(error) => return self.nothing(to, &error),
        };
        if metadata.is_file() {
            if self.earlier.contains(&format!("{}/{to}", self.base)) {
                return Ok(There::Nothing);
            }
            if metadata.len() == size {
                let mut file = self.root.open(to).map_err(|error| self.failure("read", to, &error))?;
                let (_, there) =
                    sum(&mut file, &mut vec![0; PIECE]).map_err(|error| self.failure("read", to, &error))?;
                if there == sha256 {
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

/// The final path of what a link in the container leads to, if it is among the results.
fn led_to(finals: &BTreeMap<String, String>, link: &Found) -> Option<String> {
    let What::Link { target, .. } = &link.what else { return None };
    let path = if target.starts_with('/') {
        names::plain(target)
    } else {
        names::plain(&format!("{}/{target}", link.source.rsplit_once('/')?.0))
    };
    if let Some(led_to) = finals.get(&path) {
        return Some(led_to.clone());
    }
    // A folder: where one of its files has got its own place below it.
    let inside = format!("{path}/");
    let (below, led_to) = finals.range(inside.clone()..).next().filter(|(source, _)| source.starts_with(&inside))?;
    led_to.strip_suffix(&below[path.len()..]).map(str::to_owned)
}
