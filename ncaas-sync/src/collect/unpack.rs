//! From the engine's archive to numbered files on this machine, summed up on the way.
//!
//! Names in the archive decide nothing but the place that is noted for the file: it lies under a number until it gets
//! its place, so whatever a container calls its files, none is written elsewhere.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions, PermissionsExt};
use ncaas_core::engine::archive::{ArchiveReader, cut_off};
use ncaas_core::failure::{Failure, Result, io_kind};
use rustix::fs::{Timespec, Timestamps};
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::found::{Finds, Found, Raw, STAGE, What};
use super::inside::{How, Inside};
use super::places::{Place, Places, fault};
use super::plan::{BYTES_PER_REQUEST, Fetch};
use crate::names;
use crate::select::Select;

const PIECE: usize = 256 * 1024;
/// Zeros of at least this many bytes become a hole.
pub(crate) const HOLE: usize = 64 * 1024;

/// Where archives are unpacked to.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) dir: Dir,
    next: AtomicU64,
}

impl Stage {
    pub(crate) fn new(dir: Dir) -> Stage {
        Stage { dir, next: AtomicU64::new(0) }
    }

    /// A name for the next file, as [`STAGE`] and a number.
    pub(crate) fn number(&self) -> String {
        format!("{STAGE}/{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

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
    let mut unpacking = Unpacking { fetch, stage, rules, numbers: HashMap::new(), buffer: vec![0; PIECE] };
    let above = fetch.root.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
    let mut wasted = 0;
    let mut last_folder: Option<String> = None;
    for entry in archive.entries().map_err(|error| cut_off(&error))? {
        let mut entry = entry.map_err(|error| cut_off(&error))?;
        let (above, path) = place_of(&fetch.root, above, &entry.path_bytes());
        if last_folder.as_deref().is_some_and(|folder| names::below(&path, folder).is_some()) {
            last_folder = None;
        }
        unpacking.keep_empty(last_folder.take(), &mut unpacked);
        if entry.header().entry_type() == EntryType::Directory {
            last_folder = Some(path);
        } else if unpacking.wants(&path) {
            unpacked.seen.insert(path.clone());
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
    /// Files of this archive by their path, for hard links to them.
    numbers: HashMap<String, (String, u64, String)>,
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
        if self.fetch.wanted.as_ref().is_some_and(|wanted| wanted.contains_key(&folder)) {
            unpacked.seen.insert(folder.clone());
        }
        if let Some(place) = self.place(&folder)
            && is_new
            && fault(&place).is_none()
            && self.rules.select.takes(&folder, place.path())
        {
            unpacked.finds.found.push(Found { place, source: folder, what: What::Folder });
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
        if let Some(why) = fault(&place) {
            return leave_out(unpacked, why);
        }
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                if size > self.rules.max_size {
                    return leave_out(unpacked, &format!("it has {size} bytes, more than `--max-size`"));
                }
                let (lies, sha256) = self.write(entry)?;
                self.numbers.insert(path, (lies.clone(), size, sha256.clone()));
                What::File { lies: Raw::Text(lies), size, sha256 }
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().map(|target| full_path(above, &target)).unwrap_or_default();
                let Some((lies, size, sha256)) = self.numbers.get(&target).cloned() else {
                    unpacked.again.push(path);
                    return Ok(());
                };
                let link = self.stage.number();
                self.stage.dir.hard_link(local(&lies), &self.stage.dir, local(&link)).map_err(cannot_write)?;
                What::File { lies: Raw::Text(link), size, sha256 }
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                What::Link { lies: None, target: names::text(&target) }
            }
            EntryType::Fifo => return leave_out(unpacked, "it is a FIFO"),
            EntryType::Char | EntryType::Block => return leave_out(unpacked, "it is a device"),
            _ => return leave_out(unpacked, "it is neither a file nor a folder"),
        };
        unpacked.finds.found.push(Found { place, source: exact, what });
        Ok(())
    }

    /// Writes a file's content: where it lies, and its SHA-256.
    fn write(&mut self, entry: &mut Entry<'_, ArchiveReader>) -> Result<(String, String)> {
        let lies = self.stage.number();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = self.stage.dir.open_with(local(&lies), &options).map_err(cannot_write)?;
        let mut digest = Sha256::new();
        let mut hole = false;
        loop {
            let read = fill(entry, &mut self.buffer).map_err(|error| cut_off(&error))?;
            if read == 0 {
                break;
            }
            let piece = &self.buffer[..read];
            digest.update(piece);
            hole = read >= HOLE && piece.iter().all(|&byte| byte == 0);
            if hole {
                file.seek(SeekFrom::Current(read as i64)).map(drop).map_err(cannot_write)?;
            } else {
                file.write_all(piece).map_err(cannot_write)?;
            }
        }
        if hole {
            file.set_len(entry.size()).map_err(cannot_write)?;
        }
        let header = entry.header();
        let seconds = header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let mode = cap_std::fs::Permissions::from_mode(kept_mode(header.mode().unwrap_or(0o644)));
        file.set_permissions(mode).map_err(cannot_write)?;
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(|error| cannot_write(error.into()))?;
        Ok((lies, hex(&digest.finalize())))
    }
}

/// The permissions that a result keeps: no setuid, setgid and sticky bits, for whoever made it need not be trusted; and
/// the user who ran the tool can read it.
pub(crate) fn kept_mode(mode: u32) -> u32 {
    mode & 0o777 | 0o400
}

/// The name below the stage's own folder.
pub(crate) fn local(lies: &str) -> &str {
    lies.rsplit('/').next().unwrap_or(lies)
}

pub(crate) fn cannot_write(error: io::Error) -> Failure {
    Failure::new(io_kind(&error), format!("cannot write what came from the container: {error}"))
}

/// Reads until the buffer is full or the entry ends.
fn fill(entry: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match entry.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
