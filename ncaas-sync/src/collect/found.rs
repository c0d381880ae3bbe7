//! What was found of a job: a file, a link or an empty folder, where it lies now and where it came from.

use serde::{Deserialize, Serialize};

use super::places::Place;

/// Below the work folder: what came out of the container.
pub(crate) const STAGE: &str = ".ncaas-stage";

/// One thing that a job has produced.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// Absolute path in the container.
    pub(crate) source: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    File {
        /// Where it lies now, relative to the dataset's work folder.
        lies: Raw,
        size: u64,
        /// In hex.
        sha256: String,
    },
    Link {
        /// Where it lies now; none for one that came in an archive.
        lies: Option<Raw>,
        /// What it points to, as it stands in it.
        target: String,
    },
    /// An empty folder.
    Folder,
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

    pub(crate) fn of(path: &std::path::Path) -> Raw {
        use std::os::unix::ffi::OsStrExt;
        Raw::new(path.as_os_str().as_bytes().to_vec())
    }

    pub(crate) fn as_path(&self) -> &std::path::Path {
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
        self.found.append(&mut others.found);
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
