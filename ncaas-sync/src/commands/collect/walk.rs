//! Walks through a folder of this machine that holds files written by a container, whatever its depth and content.
//!
//! Folders are opened one at a time by their path from the top, so that open files and stack do not grow with a depth
//! that the job chose. Files whose path is too long here are left out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata, MetadataExt, Permissions, PermissionsExt};
use ncaas_core::failure::{Failure, Result};
use ncaas_core::folder::open_real_folder;

use super::findings::{Content, Findings, FoundEntry, FoundFile, Location, RawPath};
use super::selection::Selection;
use super::staging::{BUFFER_SIZE, open_file, result_mode, umask};
use crate::path_text::escape_bytes;
use ncaas_core::files::{hash_rest, special_file};

/// Where a walk starts.
#[derive(Debug)]
pub(crate) struct WalkRoot<'s> {
    pub(crate) root: &'s Dir,
    /// Absolute path of the root, for messages.
    pub(crate) root_path: &'s Path,
    /// The folder to walk through, relative to the root; empty for the root itself.
    pub(crate) path: &'s Path,
    /// The same folder's path in the container; empty for the container's root.
    pub(crate) container_path: &'s str,
}

/// A folder on the way.
#[derive(Debug)]
pub(crate) struct WalkedFolder {
    pub(crate) dir: Dir,
    /// Relative to the root.
    pub(crate) path: PathBuf,
    /// Absolute path in the container.
    container_path: String,
    /// Whether it contains nothing but collected files.
    is_complete: bool,
}

/// An entry of a folder.
#[derive(Debug)]
pub(crate) struct WalkedEntry<'e> {
    pub(crate) folder: &'e WalkedFolder,
    pub(crate) name: &'e OsStr,
    pub(crate) metadata: &'e Metadata,
    /// Absolute path in the container, as text.
    pub(crate) source: &'e str,
    root_path: &'e Path,
}

impl WalkedEntry<'_> {
    /// Its path relative to the root.
    fn path(&self) -> PathBuf {
        self.folder.path.join(self.name)
    }

    pub(crate) fn failure(&self, operation: &str, error: &io::Error) -> Failure {
        Failure::io(operation, &self.root_path.join(self.path()), error)
    }
}

/// The handler of the entries that a walk finds.
pub(crate) trait Visitor {
    /// Whether to ignore an entry and everything below it, without a warning.
    fn ignores(&self, source: &str, metadata: &Metadata) -> bool;

    /// Whether the job created the empty folder.
    fn is_new_folder(&self, source: &str) -> bool;

    /// Collects a file; `None` for one that is not a result.
    fn visit_file(&mut self, entry: &WalkedEntry<'_>) -> Result<Option<Content>>;

    /// Collects a link with its target; `None` for one that is not a result.
    fn visit_link(&mut self, entry: &WalkedEntry<'_>, target: String) -> Option<Content>;

    /// Called after all entries of a folder. `is_complete`: it contains nothing but collected files.
    fn leave_folder(&mut self, folder: &WalkedFolder, is_complete: bool, findings: &mut Findings);
}

/// Walks through a folder, if it exists.
pub(crate) fn walk(start: &WalkRoot<'_>, selection: &Selection, visitor: &mut impl Visitor) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut waiting = vec![(start.path.to_owned(), start.container_path.to_owned())];
    while let Some((path, container_path)) = waiting.pop() {
        let failed = |operation: &str, error: &io::Error| Failure::io(operation, &start.root_path.join(&path), error);
        let relative = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
        let dir = match open_real_folder(start.root, relative) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == start.path => return Ok(findings),
            opened => opened.map_err(|error| failed("read", &error))?,
        };
        // In the order in which they come: a folder may hold a million.
        let mut entries = dir.entries().map_err(|error| failed("list", &error))?.peekable();
        if entries.peek().is_none() {
            if selection.accepts_empty_folder(&container_path) && visitor.is_new_folder(&container_path) {
                findings.list.push(FoundEntry::new(&container_path, Content::EmptyFolder));
            }
            continue;
        }
        let mut folder = WalkedFolder { dir, path: path.clone(), container_path, is_complete: true };
        let mut below = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &error))?;
            let name = entry.file_name();
            let source = format!("{}/{}", folder.container_path, escape_bytes(name.as_bytes()));
            let metadata = entry
                .metadata()
                .map_err(|error| Failure::io("read", &start.root_path.join(&folder.path).join(&name), &error))?;
            let entry = WalkedEntry {
                folder: &folder,
                name: &name,
                metadata: &metadata,
                source: &source,
                root_path: start.root_path,
            };
            let is_file = if visitor.ignores(&source, &metadata) || selection.excludes(&source) {
                false
            } else if metadata.is_dir() {
                if can_have_names_below(&source, selection, &mut findings) {
                    below.push((entry.path(), source));
                }
                false
            } else {
                collect_entry(&entry, selection, visitor, &mut findings)?
            };
            folder.is_complete &= is_file;
        }
        visitor.leave_folder(&folder, folder.is_complete, &mut findings);
        below.sort_unstable_by(|a, b| b.cmp(a));
        waiting.extend(below);
    }
    Ok(findings)
}

/// Whether the content of a folder can have paths in the results. A folder that is too deep is left out as a whole.
fn can_have_names_below(source: &str, selection: &Selection, findings: &mut Findings) -> bool {
    let fault = selection.paths.result_path(source).and_then(|path| selection.path_fault(&path));
    if let Some(reason) = fault {
        findings.warnings.left_out(source, reason);
    }
    fault.is_none()
}

/// Collects an entry that is not a folder. True for a collected file.
fn collect_entry(
    entry: &WalkedEntry<'_>,
    selection: &Selection,
    visitor: &mut impl Visitor,
    findings: &mut Findings,
) -> Result<bool> {
    let Some(path) = selection.result_path(entry.source) else { return Ok(false) };
    let kind = entry.metadata.file_type();
    let size_fault = || if kind.is_file() { selection.size_fault(entry.metadata.len()) } else { None };
    if let Some(reason) =
        selection.path_fault(&path).or_else(|| special_file(entry.metadata.mode())).or_else(size_fault)
    {
        findings.warnings.left_out(entry.source, reason);
        return Ok(false);
    }
    let content = if kind.is_symlink() {
        // rustix reads the target as it is; cap-std refuses an absolute one.
        let target = rustix::fs::readlinkat(&entry.folder.dir, entry.name, Vec::new());
        let target = target.map_err(|error| entry.failure("read", &error.into()))?;
        visitor.visit_link(entry, escape_bytes(target.as_bytes()))
    } else {
        visitor.visit_file(entry)?
    };
    let Some(content) = content else { return Ok(false) };
    findings.list.push(FoundEntry::new(entry.source, content));
    Ok(kind.is_file())
}

/// Collects everything in the folder `name` of a dataset's work folder, which is mounted at `container_path`.
pub(crate) fn walk_mounted(
    work: &Dir,
    work_path: &Path,
    name: &str,
    container_path: &str,
    selection: &Selection,
) -> Result<Findings> {
    let start = WalkRoot { root: work, root_path: work_path, path: Path::new(name), container_path };
    walk(&start, selection, &mut MountedVisitor { top: Path::new(name), buffer: vec![0; BUFFER_SIZE] })
}

/// Collects files where they are.
struct MountedVisitor<'v> {
    /// The mounted folder itself, which stays.
    top: &'v Path,
    buffer: Vec<u8>,
}

impl Visitor for MountedVisitor<'_> {
    fn ignores(&self, _: &str, _: &Metadata) -> bool {
        false
    }

    fn is_new_folder(&self, _: &str) -> bool {
        true
    }

    fn visit_file(&mut self, entry: &WalkedEntry<'_>) -> Result<Option<Content>> {
        let dir = &entry.folder.dir;
        let mode = entry.metadata.mode() & 0o7777;
        if mode != result_mode(mode) {
            let permissions = Permissions::from_mode(result_mode(mode));
            dir.set_permissions(entry.name, permissions).map_err(|error| entry.failure("open", &error))?;
        }
        let mut file = open_file(dir, entry.name).map_err(|error| entry.failure("read", &error))?;
        let (size, sha256) = hash_rest(&mut file, &mut self.buffer).map_err(|error| entry.failure("read", &error))?;
        Ok(Some(Content::File(FoundFile { location: Location::mounted(&entry.path()), size, sha256 })))
    }

    fn visit_link(&mut self, entry: &WalkedEntry<'_>, target: String) -> Option<Content> {
        let location = Some(Box::new(RawPath::new(&entry.path())));
        Some(Content::Link { location, target: target.into() })
    }

    fn leave_folder(&mut self, folder: &WalkedFolder, is_complete: bool, findings: &mut Findings) {
        // A folder that is moved as a whole keeps its permissions, so they must be those of any other result folder.
        let is_plain = |mode: u32| mode & 0o7700 == 0o700 && mode & umask() == 0;
        let is_plain = folder.dir.dir_metadata().is_ok_and(|metadata| is_plain(metadata.mode()));
        if is_complete && is_plain && folder.path != self.top {
            findings.folders.push(RawPath::new(&folder.path));
        }
    }
}
