//! Everything that was found gets its final name.
//!
//! The datasets of a submission share their results' folder, so a name may be taken. The same content is kept once;
//! another comes to lie under the dataset's label. What goes where is written down before anything is moved, so that a
//! process that is killed in between is finished by the next one.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::layout::{JobFolder, LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::record::fields::ResultFile;

use super::found::{Finds, Found, Raw, What};
use super::journal::{Journal, Move};
use super::places::{Place, is_reserved};
use super::walk::sum_file;
use crate::names;

/// Decides where each of the finds goes. `earlier` are the paths of results that this dataset left here in an earlier
/// run, and nobody else shares: they may be replaced.
pub(crate) fn decide(
    folder: &JobFolder,
    root: &Dir,
    finds: Finds,
    partial: bool,
    earlier: &HashSet<String>,
) -> Result<Journal> {
    let job = names::path_text(folder.root().file_name().unwrap_or_default().as_ref());
    let mut deciding = Deciding {
        root,
        path: folder.root(),
        label: folder.label(),
        base: format!("{RESULTS}/{job}"),
        partial,
        earlier,
        taken: HashSet::new(),
        folders: HashSet::new(),
        finals: BTreeMap::new(),
        journal: Journal::default(),
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
    for found in empty {
        deciding.folder(found)?;
    }
    // A link may lead to another one.
    while !links.is_empty() {
        let before = links.len();
        let mut left = Vec::new();
        for found in links {
            if let Some(found) = deciding.link(found)? {
                left.push(found);
            }
        }
        if left.len() == before {
            for found in left {
                warnings.left_out(&found.source, "it is a link that leads out of the results, or nowhere");
            }
            break;
        }
        links = left;
    }
    let mut journal = deciding.journal;
    journal.moves.sort_by(|a, b| a.result.path.cmp(&b.result.path));
    journal.warnings = warnings.into_words();
    Ok(journal)
}

struct Deciding<'d> {
    root: &'d Dir,
    path: &'d Path,
    label: &'d str,
    /// The job's folder, relative to the io-dir.
    base: String,
    partial: bool,
    earlier: &'d HashSet<String>,
    /// Final paths given out, relative to the job's folder.
    taken: HashSet<String>,
    /// Final folders given out, or known to be folders.
    folders: HashSet<String>,
    /// From a path in the container to its final path.
    finals: BTreeMap<String, String>,
    journal: Journal,
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

    /// Places a link, or gives it back where what it leads to has no place (yet).
    fn link(&mut self, found: Found) -> Result<Option<Found>> {
        let What::Link { lies, target } = &found.what else { return Ok(None) };
        let Some(led_to) = self.led_to(&found.source, target) else { return Ok(Some(found)) };
        let lies = lies.clone();
        let to = self.choose(&found.place, |deciding, to| {
            let text = names::relative(to, &led_to);
            match deciding.root.read_link_contents(to) {
                Ok(there) if there == Path::new(&text) => Ok(There::SameContent),
                Ok(_) => Ok(There::Another),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(There::Another),
                Err(error) => deciding.nothing(to, &error),
            }
        })?;
        let text = names::relative(&to, &led_to);
        self.add(&found.source, to, lies, Some(text), ResultFile::default());
        Ok(None)
    }

    /// The final path of what a link in the container leads to, if it is among the results.
    fn led_to(&self, source: &str, target: &str) -> Option<String> {
        let path = if target.starts_with('/') {
            names::plain(target)
        } else {
            names::plain(&format!("{}/{target}", source.rsplit_once('/')?.0))
        };
        if let Some(led_to) = self.finals.get(&path) {
            return Some(led_to.clone());
        }
        // A folder: where one of its files has got its own place below it.
        let inside = format!("{path}/");
        let (below, led_to) =
            self.finals.range(inside.clone()..).next().filter(|(source, _)| source.starts_with(&inside))?;
        led_to.strip_suffix(&below[path.len()..]).map(str::to_owned)
    }

    fn add(&mut self, source: &str, to: String, from: Option<Raw>, link: Option<String>, mut result: ResultFile) {
        let mut above = to.trim_end_matches('/');
        while let Some((folder, _)) = above.rsplit_once('/') {
            self.folders.insert(folder.to_owned());
            above = folder;
        }
        self.taken.insert(to.trim_end_matches('/').to_owned());
        self.finals.insert(source.to_owned(), to.trim_end_matches('/').to_owned());
        result.path = format!("{}/{to}", self.base);
        result.source = source.to_owned();
        result.partial = self.partial;
        self.journal.moves.push(Move { from, link, result });
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
                let (_, there) = sum_file(&mut file).map_err(|error| self.failure("read", to, &error))?;
                if there == sha256 {
                    return Ok(There::SameContent);
                }
            }
        }
        Ok(There::Another)
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
        Failure::io(what, &self.path.join(to), error)
    }
}
