//! The build context: which files of a folder go to the engine, in which order, and how large they are together.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use walkdir::WalkDir;

use crate::progress::in_words;

use super::dockerignore::{Descend, Ignore, Matched};

/// Over this a context draws a warning, in bytes.
const LARGE: u64 = 500_000_000;
/// How many of its largest entries the warning names.
const NAMED: usize = 5;

/// One file, folder or link of a context.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Absolute or relative path on this machine.
    pub(crate) host: PathBuf,
    /// Path from the context's root, `/` between its parts.
    pub(crate) path: String,
    /// What the file system says about it; of a link, about the link.
    pub(crate) metadata: Metadata,
    /// A folder that is left out, but may have something in it that is not.
    pub(crate) left_out: bool,
}

/// How much there is in a context.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Size {
    /// Number of files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The bytes under each of the context's own entries, the largest first.
    largest: Vec<(String, u64)>,
    /// When the file was changed that was changed last, in seconds since 1970.
    changed: i64,
}

/// Calls `visit` for every entry of the context that is not left out, in the order of their names, folder by folder, and
/// for folders that are left out but looked into.
///
/// # Errors
/// Where a folder cannot be read, or what `visit` fails with.
pub(crate) fn walk(
    root: &Path,
    ignore: &Ignore,
    descend: Descend,
    mut visit: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    // What matched each of the folders that lead to the entry at hand.
    let mut above: Vec<Matched> = vec![Matched::default()];
    let mut entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| unreadable(root, &error))?;
        let path = relative(root, entry.path())?;
        above.truncate(entry.depth());
        let parent = above.last().cloned().unwrap_or_default();
        let (out, matched) = ignore.matches(&path, &parent);
        let is_folder = entry.file_type().is_dir();
        let looked_into = is_folder && (!out || ignore.looks_into(&path, descend));
        if looked_into {
            above.push(matched);
        } else if is_folder {
            entries.skip_current_dir();
        }
        if out && !looked_into {
            continue;
        }
        let metadata = entry.metadata().map_err(|error| unreadable(root, &error))?;
        visit(Entry { host: entry.into_path(), path, metadata, left_out: out })?;
    }
    Ok(())
}

/// The size of all that is not left out.
///
/// # Errors
/// As [`walk`].
pub(crate) fn measure(root: &Path, ignore: &Ignore, descend: Descend) -> Result<Size> {
    let mut size = Size::default();
    // The entry of the context's root that the walk is in: it comes to all that is below before the next.
    let mut top = (String::new(), 0);
    walk(root, ignore, descend, |entry| {
        if entry.metadata.is_file() {
            let name = entry.path.split_inclusive('/').next().unwrap_or_default();
            if top.0 != name {
                size.remember(std::mem::replace(&mut top, (name.to_owned(), 0)));
            }
            top.1 += entry.metadata.len();
            size.files += 1;
            size.bytes += entry.metadata.len();
            size.changed = size.changed.max(entry.metadata.mtime());
        }
        Ok(())
    })?;
    size.remember(top);
    Ok(size)
}

impl Size {
    fn remember(&mut self, entry: (String, u64)) {
        let at = self.largest.partition_point(|(_, bytes)| *bytes >= entry.1);
        if at < NAMED && entry.1 > 0 {
            self.largest.insert(at, entry);
            self.largest.truncate(NAMED);
        }
    }

    /// When the file was changed that was changed last, RFC 3339 in UTC.
    pub(crate) fn youngest(&self) -> String {
        jiff::Timestamp::from_second(self.changed).unwrap_or_default().to_string()
    }

    /// What to say about a context so large that it is probably a mistake.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.bytes <= LARGE {
            return None;
        }
        let largest: Vec<String> =
            self.largest.iter().map(|(name, bytes)| format!("`{name}` {}", in_words(*bytes))).collect();
        Some(format!(
            "the build context is {}; its largest entries: {}; what the image does not need belongs into `.dockerignore`",
            in_words(self.bytes),
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
        Some(reason) => Failure::io("read", path, reason),
        None => Failure::new(Kind::Io, format!("cannot read `{}`: {error}", path.display())),
    }
}

/// Makes sure that a context is a folder.
///
/// # Errors
/// Where it is none.
pub(crate) fn folder(path: &Path) -> Result<&Path> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if metadata.is_dir() {
        Ok(path)
    } else {
        Err(Failure::new(Kind::Usage, format!("the context `{}` is not a folder", path.display()))
            .hint("name the folder; a Dockerfile of another name is given with `-f FILE`"))
    }
}
