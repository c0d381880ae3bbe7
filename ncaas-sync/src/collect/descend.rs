//! Through a folder of this machine that holds what a container wrote, however deep and whatever lies in it.
//!
//! Folders are opened one at a time, by their paths from the top, so that neither open files nor the stack grow with
//! the depth that a job has chosen. What is too deep to have a path here is left out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, FileTypeExt, Metadata};
use ncaas_core::failure::{Failure, Result};

use super::found::{Finds, Found, What};
use super::places::Place;
use super::stage::open_folder;
use super::unpack::Rules;
use crate::names;

/// Where to begin.
#[derive(Debug)]
pub(crate) struct Top<'t> {
    pub(crate) root: &'t Dir,
    /// Its absolute path, for messages.
    pub(crate) root_path: &'t Path,
    /// The folder to go through, relative to the root; empty for the root itself.
    pub(crate) path: &'t Path,
    /// The same as the container saw it; empty for its root.
    pub(crate) inside: &'t str,
}

/// A folder on the way.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: Dir,
    /// Relative to the root.
    pub(crate) path: PathBuf,
    /// Absolute path in the container.
    pub(crate) inside: String,
    /// Whether it holds files that are taken, and nothing else.
    pub(crate) is_whole: bool,
}

/// One thing in a folder.
#[derive(Debug)]
pub(crate) struct Entry<'e> {
    pub(crate) folder: &'e Folder,
    pub(crate) name: &'e OsStr,
    pub(crate) metadata: &'e Metadata,
    /// Absolute path in the container, as text.
    pub(crate) source: &'e str,
    pub(crate) root_path: &'e Path,
}

impl Entry<'_> {
    /// A failure of an operation on it.
    pub(crate) fn failure(&self, what: &str, error: &io::Error) -> Failure {
        Failure::io(what, &self.root_path.join(&self.folder.path).join(self.name), error)
    }
}

/// What is done with what lies on the way.
pub(crate) trait Take {
    /// Whether something is no matter of this walk at all.
    fn is_none_of_it(&self, source: &str, metadata: &Metadata) -> bool;

    /// Whether an empty folder is something that the job has made.
    fn keeps_empty(&self, source: &str) -> bool;

    /// A file that is to be had.
    fn file(&mut self, entry: &Entry<'_>) -> Result<What>;

    /// A link, with what it points to.
    fn link(&self, entry: &Entry<'_>, target: String) -> What;

    /// All that lies directly in a folder has been looked at.
    fn left(&mut self, folder: &Folder, finds: &mut Finds);
}

/// Goes through a folder, where there is one.
pub(crate) fn descend(top: &Top<'_>, rules: &Rules, take: &mut impl Take, finds: &mut Finds) -> Result<()> {
    let mut waiting = vec![(top.path.to_owned(), top.inside.to_owned())];
    while let Some((path, inside)) = waiting.pop() {
        let failed = |what: &str, error: &io::Error| Failure::io(what, &top.root_path.join(&path), error);
        let opened =
            if path.as_os_str().is_empty() { open_folder(top.root, ".") } else { open_folder(top.root, &path) };
        let dir = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == top.path => return Ok(()),
            opened => opened.map_err(|error| failed("read", &error))?,
        };
        // In the order in which they come: there may be a million in one folder.
        let mut entries = dir.entries().map_err(|error| failed("list", &error))?.peekable();
        if entries.peek().is_none() {
            empty(&inside, rules, take, finds);
            continue;
        }
        let mut folder = Folder { dir, path: path.clone(), inside, is_whole: true };
        let mut below = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &error))?;
            let name = entry.file_name();
            let source = format!("{}/{}", folder.inside, names::text(name.as_bytes()));
            let metadata = entry.metadata();
            let metadata =
                metadata.map_err(|error| Failure::io("read", &top.root_path.join(&folder.path).join(&name), &error))?;
            let entry =
                Entry { folder: &folder, name: &name, metadata: &metadata, source: &source, root_path: top.root_path };
            if take.is_none_of_it(&source, &metadata) || rules.select.leaves_out(&source) {
                folder.is_whole = false;
            } else if metadata.is_dir() {
                if goes_down(&source, rules, finds) {
                    below.push((folder.path.join(&name), source));
                }
                folder.is_whole = false;
            } else if !one(&entry, rules, take, finds)? {
                folder.is_whole = false;
            }
        }
        take.left(&folder, finds);
        below.sort_unstable_by(|a, b| b.cmp(a));
        waiting.extend(below);
    }
    Ok(())
}

fn empty(inside: &str, rules: &Rules, take: &impl Take, finds: &mut Finds) {
    if let Some(place) = rules.places.of_path(inside)
        && rules.places.fault(&place).is_none()
        && rules.select.takes(inside, place.path())
        && take.keeps_empty(inside)
    {
        finds.found.push(Found::new(inside, What::Folder));
    }
}

/// Whether a folder's content can have names here; one that cannot is left out as a whole.
fn goes_down(source: &str, rules: &Rules, finds: &mut Finds) -> bool {
    let fault = rules.places.of_path(source).and_then(|place| rules.places.fault(&place));
    if let Some(why) = fault {
        finds.warnings.left_out(source, why);
    }
    fault.is_none()
}

/// Whether it was taken, as a file.
fn one(entry: &Entry<'_>, rules: &Rules, take: &mut impl Take, finds: &mut Finds) -> Result<bool> {
    let Some(place) = rules.places.of_path(entry.source) else { return Ok(false) };
    if !rules.select.takes(entry.source, place.path()) {
        return Ok(false);
    }
    if let Some(why) = why_not(entry.metadata, &place, rules) {
        finds.warnings.left_out(entry.source, why);
        return Ok(false);
    }
    let is_link = entry.metadata.is_symlink();
    let what = if is_link {
        // A link's target is read as it stands; cap-std refuses one that is absolute.
        let target = rustix::fs::readlinkat(&entry.folder.dir, entry.name, Vec::new());
        let target = target.map_err(|error| entry.failure("read", &error.into()))?;
        take.link(entry, names::text(target.as_bytes()))
    } else {
        take.file(entry)?
    };
    finds.found.push(Found::new(entry.source, what));
    Ok(!is_link)
}

fn why_not(metadata: &Metadata, place: &Place, rules: &Rules) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if rules.places.fault(place).is_some() => rules.places.fault(place),
        () if kind.is_fifo() => Some("it is a FIFO"),
        () if kind.is_socket() => Some("it is a socket"),
        () if kind.is_char_device() || kind.is_block_device() => Some("it is a device"),
        () if kind.is_file() && metadata.len() > rules.max_size => Some("it is larger than `--max-size`"),
        () => None,
    }
}
