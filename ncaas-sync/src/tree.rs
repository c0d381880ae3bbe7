//! A folder on this machine beside a prefix in a bucket: what lies in the one, in the other, or in both.
//!
//! Both sides come in the order of their keys' bytes, so that two trees of any size are compared while they are listed,
//! and neither is ever held in memory.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, FileTypeExt};
use futures_util::{Stream, stream};
use ncaas_core::bucket::{Bucket, Entry, Key, Listing};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::STATE_FOLDER;
use tokio::sync::mpsc;

use crate::collect::open_folder;
use crate::names;
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Stamp;

/// How many local entries are found ahead of the work.
const AHEAD: usize = 1024;

/// Something in a folder of this machine.
#[derive(Debug)]
pub(crate) struct Local {
    /// Relative to the folder, as a key would have it: that of an empty folder ends in `/`.
    pub(crate) path: String,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    File(Stamp),
    EmptyFolder,
    /// It cannot go into a bucket.
    Unusable(Failure),
}

/// The same path on both sides.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Relative to folder and prefix.
    pub(crate) path: String,
    pub(crate) local: Option<What>,
    pub(crate) remote: Option<Remote>,
}

#[derive(Debug)]
pub(crate) enum Remote {
    Object(Entry),
    Unusable(Failure),
}

/// Both sides, walked through together.
pub(crate) struct Both {
    local: mpsc::Receiver<Result<Local>>,
    next_local: Option<Local>,
    listing: Listing,
    prefix: String,
    page: VecDeque<(String, Remote)>,
    remote_ended: bool,
    started: bool,
}

impl Both {
    /// `prefix` is empty or ends in `/`.
    pub(crate) fn new(folder: Arc<Folder>, bucket: &Bucket, prefix: &str) -> Both {
        let (sender, local) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            if let Err(failure) = walk(&folder, &sender) {
                // Nobody may be there any more to be told.
                let _ = sender.blocking_send(Err(failure));
            }
        });
        Both {
            local,
            next_local: None,
            listing: bucket.list(prefix, None),
            prefix: prefix.to_owned(),
            page: VecDeque::new(),
            remote_ended: false,
            started: false,
        }
    }

    /// All paths, one after the other. A side that cannot be listed to its end is a failure at the end, not an end.
    pub(crate) fn pairs(self) -> impl Stream<Item = Result<Pair>> {
        // None once it has failed: what follows would not be known to be all.
        stream::unfold(Some(self), async |both| {
            let mut both = both?;
            match both.next().await {
                Ok(pair) => pair.map(|pair| (Ok(pair), Some(both))),
                Err(failure) => Some((Err(failure), None)),
            }
        })
    }

    /// The next path; none at the end of both sides.
    async fn next(&mut self) -> Result<Option<Pair>> {
        if !self.started {
            self.started = true;
            self.next_local = self.local.recv().await.transpose()?;
        }
        while self.page.is_empty() && !self.remote_ended {
            match self.listing.next_page().await? {
                Some(page) => self.take(page),
                None => self.remote_ended = true,
            }
        }
        let order = match (&self.next_local, self.page.front()) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(local), Some((remote, _))) => local.path.as_bytes().cmp(remote.as_bytes()),
        };
        let local = if order.is_le() { self.next_local.take() } else { None };
        if local.is_some() {
            self.next_local = self.local.recv().await.transpose()?;
        }
        let remote = if order.is_ge() { self.page.pop_front() } else { None };
        let path = match (&local, &remote) {
            (Some(local), _) => local.path.clone(),
            (None, Some((path, _))) => path.clone(),
            (None, None) => return Ok(None),
        };
        Ok(Some(Pair { path, local: local.map(|local| local.what), remote: remote.map(|(_, remote)| remote) }))
    }

    fn take(&mut self, page: ncaas_core::bucket::Page) {
        let below = |key: &str| key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
        let mut both: Vec<(String, Remote)> = page
            .entries
            .into_iter()
            .map(|entry| (below(entry.key.as_str()), Remote::Object(entry)))
            .chain(page.unusable.into_iter().map(|one| (below(&one.name), Remote::Unusable(one.why))))
            // The folder itself.
            .filter(|(path, _)| !path.is_empty())
            .collect();
        both.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        self.page = both.into();
    }
}

/// Sends all that lies below a folder, in the order of the bytes of their paths. Names that are ours are no content.
fn walk(folder: &Folder, sender: &mpsc::Sender<Result<Local>>) -> Result<()> {
    let walk = Walk { folder, sender };
    let root = folder.dir().try_clone().map_err(|error| folder.failure("list", Path::new(""), &error))?;
    walk.below(&root, "").map(drop)
}

struct Walk<'w> {
    folder: &'w Folder,
    sender: &'w mpsc::Sender<Result<Local>>,
}

/// Nobody wants to know the rest.
struct Gone;

impl Walk<'_> {
    fn below(&self, dir: &Dir, path: &str) -> Result<std::result::Result<(), Gone>> {
        let failed = |error: &io::Error| self.folder.failure("list", Path::new(path), error);
        let mut names: Vec<(Vec<u8>, bool)> = Vec::new();
        for entry in dir.entries().map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = entry.file_name().as_bytes().to_vec();
            let is_tools_own = path.is_empty() && name == STATE_FOLDER.as_bytes();
            if !is_tools_own && !name.starts_with(TEMPORARY_PREFIX.as_bytes()) {
                let is_folder = entry.file_type().map_err(|error| failed(&error))?.is_dir();
                names.push((name, is_folder));
            }
        }
        // A folder's name sorts with its `/`.
        let key = |(name, is_folder): &(Vec<u8>, bool)| [name.as_slice(), if *is_folder { b"/" } else { b"" }].concat();
        names.sort_by_cached_key(key);
        if names.is_empty() && !path.is_empty() {
            return Ok(self.send(path.to_owned(), What::EmptyFolder));
        }
        for (name, is_folder) in names {
            let Ok(text) = str::from_utf8(&name) else {
                let shown = format!("{path}{}", names::text(&name));
                let why = Failure::new(Kind::BadKey, format!("`{shown}` has a name that is not UTF-8, and keys are"));
                if self.send(shown, What::Unusable(why)).is_err() {
                    return Ok(Err(Gone));
                }
                continue;
            };
            let sent = if is_folder {
                let below = open_folder(dir, text).map_err(|error| failed(&error))?;
                self.below(&below, &format!("{path}{text}/"))?
            } else {
                self.file(dir, text, format!("{path}{text}"))
            };
            if sent.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }

    fn file(&self, dir: &Dir, name: &str, path: String) -> std::result::Result<(), Gone> {
        let what = match dir.symlink_metadata(name) {
            Ok(metadata) if metadata.is_symlink() => match self.folder.dir().metadata(&path) {
                Ok(metadata) if metadata.is_file() => What::File(Stamp::from_contained(&metadata)),
                Ok(metadata) if metadata.is_dir() => unusable(&path, "links to folders are not followed"),
                Ok(_) => unusable(&path, "it is a link to a device, FIFO or socket"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => unusable(&path, "it is a link to nothing"),
                Err(_) => unusable(&path, "it is a link that leads out of the folder"),
            },
            Ok(metadata) if metadata.is_file() => What::File(Stamp::from_contained(&metadata)),
            Ok(metadata) if metadata.file_type().is_fifo() => unusable(&path, "it is a FIFO"),
            Ok(metadata) if metadata.file_type().is_socket() => unusable(&path, "it is a socket"),
            Ok(_) => unusable(&path, "it is a device"),
            // Deleted since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => What::Unusable(self.folder.failure("read", Path::new(&path), &error)),
        };
        let what = match Key::new(path.as_str()) {
            Ok(_) => what,
            Err(why) => What::Unusable(why),
        };
        self.send(path, what)
    }

    fn send(&self, path: String, what: What) -> std::result::Result<(), Gone> {
        self.sender.blocking_send(Ok(Local { path, what })).map_err(|_| Gone)
    }
}

fn unusable(path: &str, why: &str) -> What {
    What::Unusable(Failure::new(Kind::UnsafePath, format!("`{path}` cannot go into a bucket: {why}")))
}
