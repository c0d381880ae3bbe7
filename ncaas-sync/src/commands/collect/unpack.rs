//! Unpacks archives of the engine into the staging folder.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ncaas_core::engine::archive::{ArchiveReader, archive_interrupted};
use ncaas_core::failure::Result;
use ncaas_core::text::strip_folder;
use ncaas_core::time::parse_seconds;
use rustix::fs::Timespec;
use tar::{Archive, Entry, EntryType};

use super::findings::{Content, Findings, FoundEntry};
use super::selection::Selection;
use super::staging::{Attributes, BUFFER_SIZE, StagedFile, Staging, StagingFolder};
use crate::container_changes::{ArchiveRequest, ChangeKind, entry_path, listed_path};
use crate::path_text::{escape_bytes, file_name, normalize};

/// The outcome of one archive.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) findings: Findings,
    /// Wanted paths that the archive contained, whether they could be kept or not.
    pub(crate) seen: HashSet<String>,
    /// Paths to request on their own: hard links to a file that was not wanted.
    pub(crate) to_request: Vec<String>,
}

/// Unpacks the wanted files of an archive.
pub(crate) fn unpack(
    archive: &mut Archive<ArchiveReader>,
    request: &ArchiveRequest,
    staging: &Staging,
    selection: &Selection,
) -> Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    let mut unpacker = Unpacker {
        request,
        staging,
        selection,
        files: HashMap::new(),
        key: RandomState::new(),
        folders: HashMap::new(),
        current: None,
        buffer: vec![0; BUFFER_SIZE],
    };
    let mut unwanted = 0;
    let mut last_folder: Option<String> = None;
    for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
        let mut entry = entry.map_err(|error| archive_interrupted(&error))?;
        let (base, path) = entry_path(&request.root, &entry.path_bytes());
        if last_folder.as_deref().is_some_and(|folder| strip_folder(&path, folder).is_some()) {
            last_folder = None;
        }
        unpacker.keep_empty_folder(last_folder.take(), &mut unpacked);
        if entry.header().entry_type() == EntryType::Directory {
            if request.wanted.as_ref().is_some_and(|wanted| wanted.contains_key(&path)) {
                unpacked.seen.insert(path.clone());
            }
            last_folder = Some(path);
        } else if unpacker.is_wanted(&path) {
            if request.wanted.is_some() {
                unpacked.seen.insert(path.clone());
            }
            unpacker.unpack_entry(&mut entry, path, base, &mut unpacked)?;
        } else {
            unwanted += entry.size();
        }
        if request.is_wasteful(unpacked.seen.len(), unwanted) {
            return Ok(unpacked);
        }
    }
    unpacker.keep_empty_folder(last_folder, &mut unpacked);
    Ok(unpacked)
}

struct Unpacker<'u> {
    request: &'u ArchiveRequest,
    staging: &'u Staging,
    selection: &'u Selection,
    /// Index in the findings of each file of this archive, by a hash of its path: the targets of hard links.
    files: HashMap<u64, usize>,
    key: RandomState,
    /// The staging folder of each folder of the container, and the last one used.
    folders: HashMap<String, u32>,
    current: Option<(String, Rc<StagingFolder>)>,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn is_wanted(&self, path: &str) -> bool {
        match &self.request.wanted {
            Some(wanted) => wanted.contains_key(path),
            None => !self.request.excludes(path) && self.selection.result_path(path).is_some(),
        }
    }

    fn keep_empty_folder(&self, folder: Option<String>, unpacked: &mut Unpacked) {
        let Some(folder) = folder else { return };
        // The mount point of an empty volume is not a result.
        let is_new = match &self.request.wanted {
            Some(wanted) => wanted.get(&folder) == Some(&ChangeKind::Added),
            None => folder != self.request.root,
        };
        if is_new && !self.request.excludes(&folder) && self.selection.accepts_empty_folder(&folder) {
            unpacked.findings.list.push(FoundEntry::new(&folder, Content::EmptyFolder));
        }
    }

    fn unpack_entry(
        &mut self,
        entry: &mut Entry<'_, ArchiveReader>,
        path: String,
        base: &str,
        unpacked: &mut Unpacked,
    ) -> Result<()> {
        // The exact name; the list of changes has it in UTF-8 only.
        let exact = normalize(&format!("{base}/{}", escape_bytes(&entry.path_bytes())));
        let Some(result_path) = self.selection.paths.result_path(&exact) else { return Ok(()) };
        let leave_out = |unpacked: &mut Unpacked, reason: &str| {
            unpacked.findings.warnings.left_out(&exact, reason);
            Ok(())
        };
        if let Some(reason) = self.selection.path_fault(&result_path) {
            return leave_out(unpacked, reason);
        }
        let content = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(reason) = self.selection.size_fault(entry.size()) {
                    return leave_out(unpacked, reason);
                }
                let folder = self.staging_folder(&exact, &mut unpacked.findings)?;
                let attributes = attributes(entry);
                let cannot_read = |error: &std::io::Error| archive_interrupted(error);
                let file =
                    self.staging.write(&folder, file_name(&exact), entry, attributes, &mut self.buffer, cannot_read)?;
                // A name that is not UTF-8 may read as another file's name.
                if path == exact {
                    self.files.insert(self.key.hash_one(&path), unpacked.findings.list.len());
                }
                Content::File(file)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let Some(file) = self.find_file(base, &target, &unpacked.findings) else {
                    unpacked.to_request.push(path);
                    return Ok(());
                };
                let folder = self.staging_folder(&exact, &mut unpacked.findings)?;
                Content::File(self.staging.hard_link(&file, &folder, file_name(&exact))?)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                Content::Link { location: None, target: escape_bytes(&target).into() }
            }
            EntryType::Fifo => return leave_out(unpacked, "it is a FIFO"),
            EntryType::Char | EntryType::Block => return leave_out(unpacked, "it is a device"),
            _ => return leave_out(unpacked, "it is neither a file nor a folder"),
        };
        unpacked.findings.list.push(FoundEntry::new(&exact, content));
        Ok(())
    }

    /// The unpacked file that a hard link leads to.
    fn find_file(&self, base: &str, target: &[u8], findings: &Findings) -> Option<StagedFile> {
        let path = listed_path(base, str::from_utf8(target).ok()?.as_bytes());
        let finding = findings.list.get(*self.files.get(&self.key.hash_one(&path))?)?;
        match &finding.content {
            Content::File(file) if *finding.source == *path => {
                Some(StagedFile { file: file.clone(), name: file_name(&path).to_owned() })
            }
            _ => None,
        }
    }

    /// The staging folder for the files in the folder of `path`.
    fn staging_folder(&mut self, path: &str, findings: &mut Findings) -> Result<Rc<StagingFolder>> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some((current, staged)) = &self.current
            && current == folder
        {
            return Ok(Rc::clone(staged));
        }
        let staged = match self.folders.get(folder) {
            Some(&number) => self.staging.open_folder(number)?,
            None => self.staging.create_folder()?,
        };
        if self.folders.insert(folder.to_owned(), staged.number()).is_none() {
            findings.folders.push(staged.path());
        }
        let staged = Rc::new(staged);
        self.current = Some((folder.to_owned(), Rc::clone(&staged)));
        Ok(staged)
    }
}

fn attributes(entry: &mut Entry<'_, ArchiveReader>) -> Attributes {
    let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
    let extensions = entry.pax_extensions().ok().flatten().into_iter().flatten().flatten();
    let exact =
        extensions.filter(|field| field.key() == Ok("mtime")).filter_map(|field| parse_mtime(field.value().ok()?));
    let mtime = exact.last().unwrap_or(Timespec { tv_sec: seconds, tv_nsec: 0 });
    Attributes { mode: entry.header().mode().unwrap_or(0o644), mtime }
}

/// The time in a PAX header. A plain header has no fraction, and no times before 1970 or after 2242 (POSIX, `pax`, "pax
/// Header Block").
fn parse_mtime(text: &str) -> Option<Timespec> {
    let nanoseconds = parse_seconds(text)?;
    // The fraction of a `timespec` is never negative.
    let tv_sec = nanoseconds.div_euclid(1_000_000_000).try_into().ok()?;
    Some(Timespec { tv_sec, tv_nsec: nanoseconds.rem_euclid(1_000_000_000).try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_a_fraction_and_before_1970_are_read() {
        let read = |text: &str| parse_mtime(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(read("-631152000"), Some((-631_152_000, 0)));
        assert_eq!(read("1577934245.25"), Some((1_577_934_245, 250_000_000)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("10413792000.123456789123"), Some((10_413_792_000, 123_456_789)));
        assert_eq!(read("soon"), None);
    }
}
