//! The build context: the files of a folder that the builder may copy, in the order of their paths, and their size.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::io_dir::{DEFAULT_IO_DIR, environment_io_dir};
use ncaas_core::layout::STATE_FOLDER;
use ncaas_core::quantity::format_bytes;
use walkdir::WalkDir;

use super::dockerfile::{Instruction, copy_sources};
use super::dockerignore::{Descend, DockerIgnore, Matched};

/// A larger context draws a warning, in bytes.
const LARGE: u64 = 500_000_000;
/// Number of its largest entries that the warning names.
const NAMED: usize = 5;

/// One file, folder or link of a context.
#[derive(Debug)]
pub(crate) struct ContextEntry {
    pub(crate) host: PathBuf,
    /// Path relative to the context, with `/` as separator.
    pub(crate) path: String,
    /// Its metadata; of a link, those of the link itself.
    pub(crate) metadata: Metadata,
    /// An excluded folder that may hold files that are included again.
    pub(crate) excluded: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The largest top-level entries with their bytes, largest first.
    largest: Vec<(String, u64)>,
    /// Modification time of the newest file, in seconds since 1970.
    newest: i64,
}

/// Calls `visit` for every entry of the context that is not excluded, folder by folder in the order of their names, and
/// for excluded folders that are entered.
pub(crate) fn walk(
    root: &Path,
    ignore: &DockerIgnore,
    descend: Descend,
    mut visit: impl FnMut(ContextEntry) -> Result<()>,
) -> Result<()> {
    // The patterns that matched each of the folders above the current entry.
    let mut above: Vec<Matched> = vec![Matched::default()];
    let mut entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| unreadable(root, &error))?;
        let path = relative(root, entry.path())?;
        above.truncate(entry.depth());
        let parent = above.last().cloned().unwrap_or_default();
        let (excluded, matched) = ignore.matches(&path, &parent);
        let is_folder = entry.file_type().is_dir();
        let entered = is_folder && (!excluded || ignore.enters(&path, descend));
        if entered {
            above.push(matched);
        } else if is_folder {
            entries.skip_current_dir();
        }
        if excluded && !entered {
            continue;
        }
        let metadata = entry.metadata().map_err(|error| unreadable(root, &error))?;
        visit(ContextEntry { host: entry.into_path(), path, metadata, excluded })?;
    }
    Ok(())
}

/// The size of all files that are not excluded.
pub(crate) fn measure(root: &Path, ignore: &DockerIgnore, descend: Descend) -> Result<Size> {
    let mut size = Size::default();
    // The top-level entry that the walk is in: the walk visits all of it before the next one.
    let mut top = (String::new(), 0);
    walk(root, ignore, descend, |entry| {
        if entry.metadata.is_file() {
            let name = entry.path.split_inclusive('/').next().unwrap_or_default();
            if top.0 != name {
                size.keep_if_large(std::mem::replace(&mut top, (name.to_owned(), 0)));
            }
            top.1 += entry.metadata.len();
            size.files += 1;
            size.bytes += entry.metadata.len();
            size.newest = size.newest.max(entry.metadata.mtime());
        }
        Ok(())
    })?;
    size.keep_if_large(top);
    Ok(size)
}

impl Size {
    fn keep_if_large(&mut self, entry: (String, u64)) {
        let at = self.largest.partition_point(|(_, bytes)| *bytes >= entry.1);
        if at < NAMED && entry.1 > 0 {
            self.largest.insert(at, entry);
            self.largest.truncate(NAMED);
        }
    }

    /// Modification time of the newest file, RFC 3339 in UTC.
    pub(crate) fn newest(&self) -> String {
        jiff::Timestamp::from_second(self.newest).unwrap_or_default().to_string()
    }

    /// The warning about a context that is probably larger than intended.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.bytes <= LARGE {
            return None;
        }
        let largest: Vec<String> =
            self.largest.iter().map(|(name, bytes)| format!("`{name}` {}", format_bytes(*bytes))).collect();
        Some(format!(
            "the build context is {}; its largest entries: {}; list files that the image does not need in `.dockerignore`",
            format_bytes(self.bytes),
            largest.join(", ")
        ))
    }
}

fn relative(root: &Path, path: &Path) -> Result<String> {
    let path = path.strip_prefix(root).unwrap_or(path);
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::new(Kind::Io, format!("the name of `{}` is not UTF-8", path.display()))
            .hint("rename it, or name its folder in `.dockerignore`")),
    }
}

fn unreadable(root: &Path, error: &walkdir::Error) -> Failure {
    let path = error.path().unwrap_or(root);
    match error.io_error() {
        Some(reason) => permission_hint(Failure::io("read", path, reason)),
        None => Failure::new(Kind::Io, format!("cannot read `{}`: {error}", path.display())),
    }
}

/// The failure to read an entry of a context, with the remedy for a missing permission.
fn permission_hint(failure: Failure) -> Failure {
    if failure.kind == Kind::AccessDenied {
        return failure.hint("make the file readable, or name it in `.dockerignore`");
    }
    failure
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).doing("read", path).map_err(permission_hint)
}

pub(crate) fn require_folder(path: &Path) -> Result<&Path> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if metadata.is_dir() {
        Ok(path)
    } else {
        Err(Failure::new(Kind::Usage, format!("the context `{}` is not a folder", path.display()))
            .hint("name the folder; `-f FILE` names a Dockerfile elsewhere"))
    }
}

/// The patterns that exclude the io-dirs of the tools from a context, unless the Dockerfile copies them by name: they
/// hold data and results of jobs, which do not belong to an analysis. `.dockerignore` can include them again
/// (`!io-dir`).
pub(crate) fn io_dir_patterns(root: &Path, steps: &[Instruction]) -> Vec<String> {
    let chosen = environment_io_dir().and_then(|folder| {
        let folder = folder.canonicalize().ok()?;
        Some(folder.strip_prefix(root.canonicalize().ok()?).ok()?.to_str()?.to_owned())
    });
    let folders = [Some(DEFAULT_IO_DIR.to_owned()), chosen.filter(|folder| !folder.is_empty())];
    folders
        .into_iter()
        .flatten()
        .filter(|folder| is_io_dir(&root.join(folder)) && !copies_by_name(steps, folder))
        .collect()
}

/// Whether a folder is an io-dir: `run` and `collect` make the tools' own folder in it. One of an earlier version, or
/// of a development container, is known by its layout.
fn is_io_dir(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_dir();
    has(STATE_FOLDER)
        || has("results") && (has("logs") || has("inputs") || has("configs"))
        || folder
            .read_dir()
            .is_ok_and(|mut groups| groups.any(|group| group.is_ok_and(|group| group.path().join("results").is_dir())))
}

fn copies_by_name(steps: &[Instruction], folder: &str) -> bool {
    let copies = steps.iter().filter(|step| matches!(step.word.as_str(), "COPY" | "ADD"));
    let mut sources = copies.flat_map(|step| copy_sources(&step.rest).0);
    sources.any(|source| {
        let source = source.trim_start_matches("./").trim_start_matches('/');
        source == folder || source.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    })
}
