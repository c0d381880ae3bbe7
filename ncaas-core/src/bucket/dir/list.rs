//! The objects below a directory in the order of their keys' bytes, as S3 lists them, a page at a time.
//!
//! Memory is bounded whatever lies there: of each folder on the way down, only the next few thousand names are held,
//! and the folder is read again for those that follow.

use std::collections::BinaryHeap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, FileType, FileTypeExt};

use crate::bucket::PAGE;
use crate::bucket::key::{Key, RESERVED, quoted};
use crate::bucket::object::{Page, Unusable};
use crate::failure::{Failure, Kind, Result};

use super::{DirBucket, entry, is_escape, is_missing};

/// How many names of one folder are in memory at once.
const NAMES: usize = 8192;

/// A walk through a directory bucket that stops after every page.
pub(in crate::bucket) struct Walk {
    bucket: DirBucket,
    scope: Scope,
    /// Whether folders are told of instead of entered.
    flat: bool,
    /// The folders on the way down to where the walk is, outermost first.
    way: Vec<Folder>,
    started: bool,
}

/// Which keys are asked for. Keys are compared as bytes here: not every name on a disk is text.
struct Scope {
    prefix: String,
    after: String,
}

impl Scope {
    fn wants(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes()) && key > self.after.as_bytes()
    }

    /// Whether a folder's key, or any key below it, can be wanted.
    fn may_want_below(&self, folder: &[u8]) -> bool {
        let (prefix, after) = (self.prefix.as_bytes(), self.after.as_bytes());
        (folder.starts_with(prefix) || prefix.starts_with(folder)) && (folder > after || after.starts_with(folder))
    }

    fn may_want(&self, key: &[u8]) -> bool {
        if key.ends_with(b"/") { self.may_want_below(key) } else { self.wants(key) }
    }
}

/// A folder that is being walked through.
struct Folder {
    dir: Dir,
    /// The key of the folder, ending in `/`; empty for the bucket itself.
    key: String,
    /// The next names, the last one first. That of a folder ends in `/`, which is where it sorts.
    names: Vec<Vec<u8>>,
    /// The last name that was read from the folder, while there are more to follow.
    more_after: Option<Vec<u8>>,
}

impl Walk {
    pub(in crate::bucket) fn new(bucket: DirBucket, prefix: &str, after: Option<&str>, flat: bool) -> Walk {
        let scope = Scope { prefix: prefix.to_owned(), after: after.unwrap_or_default().to_owned() };
        Walk { bucket, scope, flat, way: Vec::new(), started: false }
    }

    /// The next objects; an empty page is the end.
    pub(in crate::bucket) fn page(&mut self) -> Result<Page> {
        let mut page = Page::default();
        if !self.started {
            self.start(&mut page)?;
            self.started = true;
        }
        while page.len() < PAGE {
            let Some(folder) = self.way.last_mut() else { break };
            match folder.names.pop() {
                Some(name) => self.visit(&name, &mut page)?,
                None => match folder.more_after.take() {
                    Some(last) => folder.read(&self.bucket, &self.scope, Some(&last)).map(drop)?,
                    None => drop(self.way.pop()),
                },
            }
        }
        Ok(page)
    }

    /// Enters the innermost folder that holds everything under the prefix, if there is one.
    fn start(&mut self, page: &mut Page) -> Result<()> {
        let root = self.bucket.root()?;
        let Some((folder, _)) = self.scope.prefix.rsplit_once('/') else {
            return self.enter(root, String::new(), page);
        };
        let Ok(key) = Key::new(format!("{folder}/")) else { return Ok(()) };
        match root.open_dir(folder) {
            Ok(dir) => self.enter(dir, key.as_str().to_owned(), page),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.bucket.failure("list", &key, &error)),
        }
    }

    fn enter(&mut self, dir: Dir, key: String, page: &mut Page) -> Result<()> {
        let mut folder = Folder { dir, key, names: Vec::new(), more_after: None };
        let is_empty = folder.read(&self.bucket, &self.scope, None)?;
        if is_empty && self.scope.wants(folder.key.as_bytes()) {
            let metadata = folder.dir.dir_metadata();
            if let (Ok(key), Ok(metadata)) = (Key::new(folder.key.as_str()), metadata) {
                page.entries.push(entry(key, 0, &metadata));
            }
        }
        self.way.push(folder);
        Ok(())
    }

    fn visit(&mut self, name: &[u8], page: &mut Page) -> Result<()> {
        let Some(folder) = self.way.last() else { return Ok(()) };
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
            if self.scope.wants(text.as_bytes()) {
                page.folders.push(key);
            }
            return Ok(());
        }
        match folder.dir.open_dir(name) {
            Ok(dir) => self.enter(dir, text, page),
            // Deleted, or replaced by something else, since its name was read.
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(self.bucket.failure("list", &key, &error)),
        }
    }

    fn visit_file(&self, name: &str, key: Key, page: &mut Page) -> Result<()> {
        let Some(folder) = self.way.last() else { return Ok(()) };
        let refuse = |why: &str| {
            let why = format!("{} cannot be used: {why}", quoted(&self.bucket.path(&key).to_string_lossy()));
            Unusable { name: key.as_str().to_owned(), why: Failure::new(Kind::UnsafePath, why) }
        };
        match folder.dir.metadata(name) {
            Ok(metadata) if metadata.is_file() => {
                let size = metadata.len();
                page.entries.push(entry(key, size, &metadata));
            }
            Ok(metadata) if metadata.is_dir() => page.unusable.push(refuse("links to folders are not followed")),
            Ok(metadata) => page.unusable.push(refuse(kind_of(metadata.file_type()))),
            Err(error) if is_escape(&error) => page.unusable.push(refuse("it is a link that leads out of the bucket")),
            Err(error) if is_missing(&error) => {
                // A link to nothing stays, a file that was deleted meanwhile does not.
                if folder.dir.symlink_metadata(name).is_ok_and(|metadata| metadata.is_symlink()) {
                    page.unusable.push(refuse("it is a link to nothing"));
                }
            }
            Err(error) => return Err(self.bucket.failure("list", &key, &error)),
        }
        Ok(())
    }
}

impl Folder {
    /// Reads the wanted names that follow `after`, the smallest ones, as many as may be held. Whether the folder is empty.
    fn read(&mut self, bucket: &DirBucket, scope: &Scope, after: Option<&[u8]>) -> Result<bool> {
        let failed = |error: &io::Error| Failure::io("list", &bucket.root.join(Path::new(&self.key)), error);
        let mut smallest: BinaryHeap<Vec<u8>> = BinaryHeap::new();
        let mut is_empty = true;
        let mut left_out = false;
        for item in self.dir.entries().map_err(|error| failed(&error))? {
            let item = item.map_err(|error| failed(&error))?;
            let mut name = item.file_name().as_bytes().to_vec();
            if name.starts_with(RESERVED.as_bytes()) {
                continue;
            }
            is_empty = false;
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                name.push(b'/');
            }
            let is_read = after.is_some_and(|after| name.as_slice() <= after);
            if is_read || !scope.may_want(&[self.key.as_bytes(), &name].concat()) {
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

fn kind_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "it is a FIFO"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is neither a file nor a folder"
    }
}
