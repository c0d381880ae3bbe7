//! The results that were found: files, links and empty folders, each with its path in the container and its present
//! location.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container_paths::ContainerPaths;
use crate::path_text::file_name;
use ncaas_core::transfer::Sha256Sum;

/// Below the work folder: files that were copied out of the container.
pub(crate) const STAGE: &str = ".ncaas-stage";

/// One file, link or empty folder of a job. There may be a million, so paths that follow from `source` are not stored.
#[derive(Debug, Clone)]
pub(crate) struct FoundEntry {
    /// Absolute path in the container.
    pub(crate) source: Box<str>,
    pub(crate) content: Content,
    /// Index of the assigned name among its candidates, see [`super::result_names`]. `None` for a finding that is left
    /// out.
    pub(crate) name: Option<u16>,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    File(FoundFile),
    Link {
        /// The present location; `None` for a link from an archive.
        location: Option<Box<RawPath>>,
        /// First the target in the container; once names are assigned, the target of the result.
        target: Box<str>,
    },
    EmptyFolder,
}

/// Content and location of a file.
#[derive(Debug, Clone)]
pub(crate) struct FoundFile {
    pub(crate) location: Location,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Sum,
}

/// The location of a file in the dataset's work folder.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// In the staging folder of that number, under its own file name.
    Staged(u32),
    /// Where the container wrote it, in a mounted folder.
    Mounted,
    /// The same for a path that is not UTF-8.
    MountedAt(Box<RawPath>),
}

impl FoundEntry {
    pub(crate) fn new(source: &str, content: Content) -> FoundEntry {
        FoundEntry { source: source.into(), content, name: None }
    }

    /// The location relative to the dataset's work folder; `None` for what is created at its destination.
    pub(crate) fn location(&self, paths: &ContainerPaths) -> Option<Cow<'_, RawPath>> {
        let text = |path| Cow::Owned(RawPath::Text(path));
        match &self.content {
            Content::File(file) => match &file.location {
                Location::Staged(number) => Some(text(format!("{STAGE}/{number}/{}", file_name(&self.source)))),
                Location::Mounted => paths.work_path(&self.source).map(text),
                Location::MountedAt(path) => Some(Cow::Borrowed(path)),
            },
            Content::Link { location, .. } => location.as_deref().map(Cow::Borrowed),
            Content::EmptyFolder => None,
        }
    }
}

impl Location {
    /// The location of a file in a mounted folder, from its path in the work folder.
    pub(crate) fn mounted(path: &Path) -> Location {
        match RawPath::new(path) {
            RawPath::Text(_) => Location::Mounted,
            raw @ RawPath::Bytes(_) => Location::MountedAt(Box::new(raw)),
        }
    }
}

/// A path that may not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RawPath {
    Text(String),
    Bytes(Vec<u8>),
}

impl RawPath {
    pub(crate) fn new(path: &Path) -> RawPath {
        let bytes = path.as_os_str().as_bytes().to_vec();
        String::from_utf8(bytes).map_or_else(|error| RawPath::Bytes(error.into_bytes()), RawPath::Text)
    }

    pub(crate) fn as_path(&self) -> &Path {
        match self {
            RawPath::Text(text) => text.as_ref(),
            RawPath::Bytes(bytes) => OsStr::from_bytes(bytes).as_ref(),
        }
    }
}

/// All findings of a job, and warnings about what was left out.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<FoundEntry>,
    /// Folders that contain nothing but listed files, relative to the dataset's work folder.
    pub(crate) folders: Vec<RawPath>,
    pub(crate) warnings: Warnings,
    /// Files that were left out of a job without results.
    pub(crate) uncollected: u64,
}

impl Findings {
    pub(crate) fn append(&mut self, mut others: Findings) {
        if self.list.is_empty() {
            self.list = others.list;
        } else {
            self.list.append(&mut others.list);
        }
        self.folders.append(&mut others.folders);
        self.warnings.extend(others.warnings);
        self.uncollected += others.uncollected;
    }
}

/// Messages for the record's `warnings`, as many as a person reads.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    messages: Vec<String>,
    more: usize,
}

impl Warnings {
    /// The most messages in a record.
    const LIMIT: usize = 50;

    pub(crate) fn left_out(&mut self, path: &str, reason: &str) {
        self.add(format!("left out `{}`: {reason}", printable(path)));
    }

    pub(crate) fn add(&mut self, message: String) {
        if self.messages.len() < Self::LIMIT {
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn extend(&mut self, others: Warnings) {
        self.more += others.more;
        others.messages.into_iter().for_each(|message| self.add(message));
    }

    pub(crate) fn into_messages(mut self) -> Vec<String> {
        if self.more > 0 {
            self.messages.push(format!("and {} more", self.more));
        }
        self.messages
    }
}

/// A name from a container, without control characters and at most 200 characters long.
fn printable(name: &str) -> String {
    let mut shown = String::new();
    for c in name.chars().take(200) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if name.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}
