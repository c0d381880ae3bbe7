//! What was found of a job: a file, a link or an empty folder, where it lies now and where it came from.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::places::Places;
use super::stage::last_name;
use ncaas_core::transfer::Sha256Sum;

/// Below the work folder: what came out of the container.
pub(crate) const STAGE: &str = ".ncaas-stage";

/// One thing that a job has produced. There may be a million of them: what follows from its source is not kept beside it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Absolute path in the container.
    pub(crate) source: Box<str>,
    pub(crate) what: What,
    /// Which of the names that its place can have it got, from 0 for the place's own; none for what is not kept.
    pub(crate) named: Option<u16>,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    File(File),
    Link {
        /// Where it lies now; none for one that came in an archive.
        lies: Option<Box<Raw>>,
        /// What it points to: as it stands in it, and once it has a name, from there.
        target: Box<str>,
    },
    /// An empty folder.
    Folder,
}

/// A file's content, and where it lies now.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) lies: Lies,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256Sum,
}

/// Where a file lies, in the dataset's work folder.
#[derive(Debug, Clone)]
pub(crate) enum Lies {
    /// In the stage's folder of that number, under its last name.
    Staged(u32),
    /// Where the container wrote it, in a folder that was mounted.
    Mounted,
    /// The same under a name that is no text.
    At(Box<Raw>),
}

impl Found {
    pub(crate) fn new(source: &str, what: What) -> Found {
        Found { source: source.into(), what, named: None }
    }

    /// Where it lies, relative to the dataset's work folder; none for what is made where it belongs.
    pub(crate) fn lies(&self, places: &Places) -> Option<Cow<'_, Raw>> {
        match &self.what {
            What::File(File { lies: Lies::Staged(number), .. }) => {
                Some(Cow::Owned(Raw::Text(format!("{STAGE}/{number}/{}", last_name(&self.source)))))
            }
            What::File(File { lies: Lies::Mounted, .. }) => {
                places.mounted(&self.source).map(|path| Cow::Owned(Raw::Text(path)))
            }
            What::File(File { lies: Lies::At(path), .. }) => Some(Cow::Borrowed(path)),
            What::Link { lies, .. } => lies.as_deref().map(Cow::Borrowed),
            What::Folder => None,
        }
    }
}

impl Lies {
    /// Of a file in a mounted folder, by its path in the work folder.
    pub(crate) fn mounted(path: &Path) -> Lies {
        match Raw::of(path) {
            Raw::Text(_) => Lies::Mounted,
            raw @ Raw::Bytes(_) => Lies::At(Box::new(raw)),
        }
    }
}

/// A path that need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Raw {
    Text(String),
    Bytes(Vec<u8>),
}

impl Raw {
    fn new(bytes: Vec<u8>) -> Raw {
        String::from_utf8(bytes).map_or_else(|error| Raw::Bytes(error.into_bytes()), Raw::Text)
    }

    pub(crate) fn of(path: &Path) -> Raw {
        use std::os::unix::ffi::OsStrExt;
        Raw::new(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn as_path(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt;
        match self {
            Raw::Text(text) => text.as_ref(),
            Raw::Bytes(bytes) => std::ffi::OsStr::from_bytes(bytes).as_ref(),
        }
    }
}

/// All that was found, and what was left out, in words.
#[derive(Debug, Default)]
pub(crate) struct Finds {
    pub(crate) found: Vec<Found>,
    /// Folders in which nothing lies but files that were found, relative to the dataset's work folder.
    pub(crate) folders: Vec<Raw>,
    pub(crate) warnings: Warnings,
}

impl Finds {
    pub(crate) fn append(&mut self, mut others: Finds) {
        if self.found.is_empty() {
            self.found = others.found;
        } else {
            self.found.append(&mut others.found);
        }
        self.folders.append(&mut others.folders);
        self.warnings.extend(others.warnings);
    }
}

/// Words for the record's `warnings`, no more than a person reads.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    words: Vec<String>,
    more: usize,
}

impl Warnings {
    /// How many stand in a record.
    const MOST: usize = 50;

    pub(crate) fn left_out(&mut self, path: &str, why: &str) {
        self.add(format!("left out `{}`: {why}", shown(path)));
    }

    pub(crate) fn add(&mut self, words: String) {
        if self.words.len() < Self::MOST {
            self.words.push(words);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn extend(&mut self, others: Warnings) {
        self.more += others.more;
        others.words.into_iter().for_each(|words| self.add(words));
    }

    pub(crate) fn into_words(mut self) -> Vec<String> {
        if self.more > 0 {
            self.words.push(format!("and {} more", self.more));
        }
        self.words
    }
}

/// A name from outside, fit for one line of a message.
pub(crate) fn shown(name: &str) -> String {
    let mut shown = String::new();
    for c in name.chars().take(200) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if name.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}
