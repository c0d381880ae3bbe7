//! Listings of a directory: the objects in the order of their keys' bytes, as S3 lists them, a page at a time.
//!
//! Memory is bounded: only the next few thousand names of each folder on the path are held, and the folder is read
//! again for the names that follow.

use std::collections::BinaryHeap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, MetadataExt};

use crate::bucket::key::{Key, quoted};
use crate::bucket::object::{PAGE, Page, Unusable};
use crate::failure::{Failure, Kind, Result};
use crate::files::{TEMPORARY_PREFIX, special_file};
use crate::folder::open_real_folder;

use super::directory::{DirBucket, entry, is_escape, is_missing};

/// How many names of one folder are in memory at once.
const NAMES: usize = 8192;

/// A walk through a directory bucket that stops after every page.
pub(in crate::bucket) struct Walk {
    bucket: DirBucket,
    scope: Scope,
    /// Whether folders are reported instead of entered.
    flat: bool,
    /// The folders on the path to the current position, outermost first.
    path: Vec<OpenFolder>,
    started: bool,
}

/// The wanted keys. They are compared as bytes: not every file name is text.
struct Scope {
    prefix: String,
    after: String,
}

impl Scope {
    fn includes(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes()) && key > self.after.as_bytes()
    }

    /// Whether a folder's key, or any key below it, may be in the scope.
    fn may_include_below(&self, folder: &[u8]) -> bool {
        let (prefix, after) = (self.prefix.as_bytes(), self.after.as_bytes());
        (folder.starts_with(prefix) || prefix.starts_with(folder)) && (folder > after || after.starts_with(folder))
    }

    fn may_include(&self, key: &[u8]) -> bool {
        if key.ends_with(b"/") { self.may_include_below(key) } else { self.includes(key) }
    }
}

/// A folder that is being walked through.
struct OpenFolder {
    dir: Dir,
    /// The key of the folder, ending in `/`; empty for the bucket itself.
    key: String,
    /// The next names, the last one first. The name of a folder ends in `/`, by which it is sorted.
    names: Vec<Vec<u8>>,
    /// The last name that was read from the folder, if more follow.
    more_after: Option<Vec<u8>>,
}

impl Walk {
    pub(in crate::bucket) fn new(bucket: DirBucket, prefix: &str, after: Option<&str>, flat: bool) -> Walk {
        let scope = Scope { prefix: prefix.to_owned(), after: after.unwrap_or_default().to_owned() };
        Walk { bucket, scope, flat, path: Vec::new(), started: false }
    }

    /// The next objects; an empty page is the end.
    pub(in crate::bucket) fn page(&mut self) -> Result<Page> {
        let mut page = Page::default();
        if !self.started {
            self.start(&mut page)?;
            self.started = true;
        }
        while page.len() < PAGE {
            let Some(folder) = self.path.last_mut() else { break };
            match folder.names.pop() {
                Some(name) => self.visit(&name, &mut page)?,
                None => match folder.more_after.take() {
                    Some(last) => folder.read(&self.bucket, &self.scope, Some(&last)).map(drop)?,
                    None => drop(self.path.pop()),
                },
            }
        }
        Ok(page)
    }

    /// Enters the innermost folder that contains everything under the prefix, if there is one.
    fn start(&mut self, page: &mut Page) -> Result<()> {
        let root = self.bucket.root()?;
        let Some((folder, _)) = self.scope.prefix.rsplit_once('/') else {
            return self.enter(root, String::new(), page);
        };
        let Ok(key) = Key::new(format!("{folder}/")) else { return Ok(()) };
        let Some((group, path)) = self.bucket.locate(&root, &key)? else { return Ok(()) };
        match group.open_dir(path) {
            Ok(dir) => self.enter(dir, key.as_str().to_owned(), page),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.bucket.failure("list", &key, &error)),
        }
    }

    fn enter(&mut self, dir: Dir, key: String, page: &mut Page) -> Result<()> {
        let mut folder = OpenFolder { dir, key, names: Vec::new(), more_after: None };
        let is_empty = folder.read(&self.bucket, &self.scope, None)?;
        if is_empty && self.scope.includes(folder.key.as_bytes()) {
            let metadata = folder.dir.dir_metadata();
            if let (Ok(key), Ok(metadata)) = (Key::new(folder.key.as_str()), metadata) {
                page.entries.push(entry(key, 0, &metadata));
            }
        }
        self.path.push(folder);
        Ok(())
    }

    fn visit(&mut self, name: &[u8], page: &mut Page) -> Result<()> {
        let Some(folder) = self.path.last() else { return Ok(()) };
        let Ok(name) = str::from_utf8(name) else {
            let shown = format!("{}{}", folder.key, String::from_utf8_lossy(name));
            let why = format!("{} has a name that is not UTF-8", quoted(&shown));
            page.unusable.push(Unusable { name: shown, why: Failure::new(Kind::BadKey, why) });
            return Ok(());
        };
        let text = format!("{}{name}", folder.key);
        let key = match Key::new(text.as_str()) {
            Ok(key) => key,
            Err(why) => {
                page.unusable.push(Unusable { name: text, why });
                return Ok(());
            }
        };
        if !key.is_folder() {
            return self.visit_file(name, key, page);
        }
        if self.flat && text.starts_with(&self.scope.prefix) {
            if self.scope.includes(text.as_bytes()) {
                page.folders.push(key);
            }
            return Ok(());
        }
        match open_real_folder(&folder.dir, name) {
            Ok(dir) => {
                if let Err(why) = self.enter(dir, text, page) {
                    page.unusable.push(Unusable { name: key.as_str().to_owned(), why });
                }
            }
            // It was deleted or replaced since its name was read.
            Err(error) if is_missing(&error) => {}
            Err(error) => {
                let why = self.bucket.failure("list", &key, &error);
                page.unusable.push(Unusable { name: key.as_str().to_owned(), why });
            }
        }
        Ok(())
    }

    fn visit_file(&self, name: &str, key: Key, page: &mut Page) -> Result<()> {
        let Some(folder) = self.path.last() else { return Ok(()) };
        let found = match folder.dir.metadata(name) {
            // It may lead to another folder of the group.
            Err(error) if is_escape(&error) => self.bucket.metadata(&self.bucket.root()?, &key),
            Err(error) if is_missing(&error) => Ok(None),
            found => found.map(Some).map_err(|error| self.bucket.failure("list", &key, &error)),
        };
        let fault = match found {
            Ok(Some(metadata)) if metadata.is_file() => {
                let size = metadata.len();
                page.entries.push(entry(key, size, &metadata));
                return Ok(());
            }
            Ok(Some(metadata)) if metadata.is_dir() => "links to folders are not followed",
            Ok(Some(metadata)) => special_file(metadata.mode()).unwrap_or("it is neither a file nor a folder"),
            // A broken link is reported; a file that was deleted meanwhile is not.
            Ok(None) if folder.dir.symlink_metadata(name).is_ok_and(|metadata| metadata.is_symlink()) => {
                "it is a broken link"
            }
            Ok(None) => return Ok(()),
            Err(why) => {
                page.unusable.push(Unusable { name: key.as_str().to_owned(), why });
                return Ok(());
            }
        };
        let why = format!("{} cannot be used: {fault}", quoted(&self.bucket.path(&key).to_string_lossy()));
        let why = Failure::new(Kind::UnsafePath, why);
        page.unusable.push(Unusable { name: key.as_str().to_owned(), why });
        Ok(())
    }
}

impl OpenFolder {
    /// Reads the smallest names after `after` that are in the scope, as many as may be held. Returns whether the folder
    /// is empty.
    fn read(&mut self, bucket: &DirBucket, scope: &Scope, after: Option<&[u8]>) -> Result<bool> {
        let failed = |error: &io::Error| Failure::io("list", &bucket.root.join(Path::new(&self.key)), error);
        let mut smallest: BinaryHeap<Vec<u8>> = BinaryHeap::new();
        let mut is_empty = true;
        let mut left_out = false;
        for item in self.dir.entries().map_err(|error| failed(&error))? {
            let item = item.map_err(|error| failed(&error))?;
            let mut name = item.file_name().as_bytes().to_vec();
            if name.starts_with(TEMPORARY_PREFIX.as_bytes()) {
                continue;
            }
            is_empty = false;
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                name.push(b'/');
            }
            let is_read = after.is_some_and(|after| name.as_slice() <= after);
            if is_read || !scope.may_include(&[self.key.as_bytes(), &name].concat()) {
                continue;
            }
            smallest.push(name);
            if smallest.len() > NAMES {
                smallest.pop();
                left_out = true;
            }
        }
        self.names = smallest.into_sorted_vec();
        self.more_after = if left_out { self.names.last().cloned() } else { None };
        self.names.reverse();
        Ok(is_empty)
    }
}
