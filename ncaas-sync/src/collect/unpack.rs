//! From the engine's archive to files in the stage, summed up on the way.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ncaas_core::engine::archive::{ArchiveReader, archive_interrupted};
use ncaas_core::failure::Result;
use rustix::fs::Timespec;
use tar::{Archive, Entry, EntryType};

use super::found::{Finds, Found, What};
use super::inside::{How, Inside};
use super::places::{Place, Places};
use super::plan::{BYTES_PER_REQUEST, Fetch};
use super::stage::{PIECE, Stage, StageFolder, Staged, Traits, last_name};
use crate::names;
use crate::select::Select;

/// What decides which of an archive's files are kept, and where they come to lie.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) inside: Inside,
    pub(crate) places: Places,
    pub(crate) select: Select,
    /// The largest file that is taken, in bytes.
    pub(crate) max_size: u64,
}

/// What came of one archive.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) finds: Finds,
    /// Paths that were there, whether or not they could be kept.
    pub(crate) seen: HashSet<String>,
    /// Paths that have to be asked for by themselves: hard links to a file that was not wanted.
    pub(crate) again: Vec<String>,
}

/// Unpacks what `fetch` wants of an archive.
pub(crate) fn unpack(
    archive: &mut Archive<ArchiveReader>,
    fetch: &Fetch,
    stage: &Stage,
    rules: &Rules,
) -> Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    let mut unpacking = Unpacking {
        fetch,
        stage,
        rules,
        files: HashMap::new(),
        key: RandomState::new(),
        folders: HashMap::new(),
        current: None,
        buffer: vec![0; PIECE],
    };
    let above = fetch.root.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
    let mut wasted = 0;
    let mut last_folder: Option<String> = None;
    for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
        let mut entry = entry.map_err(|error| archive_interrupted(&error))?;
        let (above, path) = place_of(&fetch.root, above, &entry.path_bytes());
        if last_folder.as_deref().is_some_and(|folder| names::below(&path, folder).is_some()) {
            last_folder = None;
        }
        unpacking.keep_empty(last_folder.take(), &mut unpacked);
        if entry.header().entry_type() == EntryType::Directory {
            if unpacking.fetch.wanted.as_ref().is_some_and(|wanted| wanted.contains_key(&path)) {
                unpacked.seen.insert(path.clone());
            }
            last_folder = Some(path);
        } else if unpacking.wants(&path) {
            if fetch.wanted.is_some() {
                unpacked.seen.insert(path.clone());
            }
            unpacking.take(&mut entry, path, above, &mut unpacked)?;
        } else {
            wasted += entry.size();
        }
        if too_much(fetch, unpacked.seen.len(), wasted) {
            return Ok(unpacked);
        }
    }
    unpacking.keep_empty(last_folder, &mut unpacked);
    Ok(unpacked)
}

/// The path of an entry, and the folder that its name counts from. Podman names what lies in a mount from the mount on,
/// with a `/` at the beginning.
fn place_of<'r>(root: &'r str, above: &'r str, name: &[u8]) -> (&'r str, String) {
    match name.strip_prefix(b"/") {
        Some([]) => (root, root.to_owned()),
        Some(within) => (root, full_path(root.trim_end_matches('/'), within)),
        None => (above, full_path(above, name)),
    }
}

/// Whether more that is not wanted has come than requests for what is still missing would cost.
pub(crate) fn too_much(fetch: &Fetch, seen: usize, wasted: u64) -> bool {
    let missing = fetch.wanted.as_ref().map_or(0, |wanted| wanted.len()).saturating_sub(seen) as u64;
    fetch.give_up && wasted > missing.saturating_mul(BYTES_PER_REQUEST)
}

/// The name that the engine gives a path in its list of changes, which is UTF-8.
pub(crate) fn full_path(above: &str, within: &[u8]) -> String {
    let mut path = format!("{above}/");
    for chunk in within.utf8_chunks() {
        path.push_str(chunk.valid());
        // Go, which made that list, writes this for every single byte.
        path.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    names::plain(&path)
}

struct Unpacking<'u> {
    fetch: &'u Fetch,
    stage: &'u Stage,
    rules: &'u Rules,
    /// Where among the finds the files of this archive are, by a sum of their path: for hard links to them.
    files: HashMap<u64, usize>,
    key: RandomState,
    /// The folders of the stage that stand for those of the container, and the one that was used last.
    folders: HashMap<String, u32>,
    current: Option<(String, Rc<StageFolder>)>,
    buffer: Vec<u8>,
}

impl Unpacking<'_> {
    fn wants(&self, path: &str) -> bool {
        match &self.fetch.wanted {
            Some(wanted) => wanted.contains_key(path),
            None => self.place(path).is_some_and(|place| self.rules.select.takes(path, place.path())),
        }
    }

    fn place(&self, path: &str) -> Option<Place> {
        self.rules.places.of_path(path)
    }

    /// Keeps a folder that nothing was in.
    fn keep_empty(&self, folder: Option<String>, unpacked: &mut Unpacked) {
        let Some(folder) = folder else { return };
        let is_new = self.fetch.wanted.as_ref().is_none_or(|wanted| wanted.get(&folder) == Some(&How::Added));
        if let Some(place) = self.place(&folder)
            && is_new
            && self.rules.places.fault(&place).is_none()
            && self.rules.select.takes(&folder, place.path())
        {
            unpacked.finds.found.push(Found::new(&folder, What::Folder));
        }
    }

    fn take(
        &mut self,
        entry: &mut Entry<'_, ArchiveReader>,
        path: String,
        above: &str,
        unpacked: &mut Unpacked,
    ) -> Result<()> {
        // The names exactly as they are, where the list of changes has them in UTF-8 only.
        let exact = names::plain(&format!("{above}/{}", names::text(&entry.path_bytes())));
        let Some(place) = self.place(&exact) else { return Ok(()) };
        let leave_out = |unpacked: &mut Unpacked, why: &str| {
            unpacked.finds.warnings.left_out(&exact, why);
            Ok(())
        };
        if let Some(why) = self.rules.places.fault(&place) {
            return leave_out(unpacked, why);
        }
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if entry.size() > self.rules.max_size {
                    return leave_out(unpacked, "it is larger than `--max-size`");
                }
                let folder = self.stage_folder(&exact, &mut unpacked.finds)?;
                let traits = traits(entry);
                let cannot_read = |error: &std::io::Error| archive_interrupted(error);
                let what =
                    self.stage.write(&folder, last_name(&exact), entry, traits, &mut self.buffer, cannot_read)?;
                // A name that is no text may read as another's.
                if path == exact {
                    self.files.insert(self.key.hash_one(&path), unpacked.finds.found.len());
                }
                What::File(what)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let Some(file) = self.file_at(above, &target, &unpacked.finds) else {
                    unpacked.again.push(path);
                    return Ok(());
                };
                let folder = self.stage_folder(&exact, &mut unpacked.finds)?;
                What::File(self.stage.link(&file, &folder, last_name(&exact))?)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                What::Link { lies: None, target: names::text(&target).into() }
            }
            EntryType::Fifo => return leave_out(unpacked, "it is a FIFO"),
            EntryType::Char | EntryType::Block => return leave_out(unpacked, "it is a device"),
            _ => return leave_out(unpacked, "it is neither a file nor a folder"),
        };
        unpacked.finds.found.push(Found::new(&exact, what));
        Ok(())
    }

    /// The file of this archive that a hard link leads to.
    fn file_at(&self, above: &str, target: &[u8], finds: &Finds) -> Option<Staged> {
        let path = full_path(above, str::from_utf8(target).ok()?.as_bytes());
        let found = finds.found.get(*self.files.get(&self.key.hash_one(&path))?)?;
        match &found.what {
            What::File(file) if *found.source == *path => {
                Some(Staged { file: file.clone(), name: last_name(&path).to_owned() })
            }
            _ => None,
        }
    }

    /// The folder of the stage for what lies beside `path`.
    fn stage_folder(&mut self, path: &str, finds: &mut Finds) -> Result<Rc<StageFolder>> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some((current, staged)) = &self.current
            && current == folder
        {
            return Ok(Rc::clone(staged));
        }
        let staged = match self.folders.get(folder) {
            Some(&number) => self.stage.reopen(number)?,
            None => self.stage.folder()?,
        };
        if self.folders.insert(folder.to_owned(), staged.number()).is_none() {
            finds.folders.push(staged.path());
        }
        let staged = Rc::new(staged);
        self.current = Some((folder.to_owned(), Rc::clone(&staged)));
        Ok(staged)
    }
}

fn traits(entry: &Entry<'_, ArchiveReader>) -> Traits {
    let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
    let mtime = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Traits { mode: entry.header().mode().unwrap_or(0o644), mtime }
}
