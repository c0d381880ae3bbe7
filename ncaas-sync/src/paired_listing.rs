//! A folder of this machine and a prefix in a bucket, listed side by side.
//!
//! Both sides are sorted by the bytes of their keys. So two trees of any size are compared while they are listed, and
//! neither is held in memory.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt};
use futures_util::{Stream, stream};
use ncaas_core::bucket::{Bucket, Key, Listing, ObjectInfo};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::{TEMPORARY_PREFIX, special_file};
use ncaas_core::layout::STATE_FOLDER;
use tokio::sync::mpsc;

use crate::path_text::escape_bytes;
use ncaas_core::file_stamp::FileStamp;
use ncaas_core::folder::{Folder, open_real_folder};

/// Local entries that are listed ahead of the work.
const LISTED_AHEAD: usize = 1024;

/// An entry of a folder of this machine.
#[derive(Debug)]
struct LocalPath {
    /// Relative to the folder. The path of an empty folder ends in `/`.
    path: String,
    entry: LocalEntry,
}

/// The local side of a path.
#[derive(Debug)]
pub(crate) enum LocalEntry {
    File(FileStamp),
    EmptyFolder,
    /// An entry that cannot be stored in a bucket.
    Unusable(Failure),
}

/// One path on both sides.
#[derive(Debug)]
pub(crate) struct PathPair {
    /// Relative to the folder and to the prefix.
    pub(crate) path: String,
    pub(crate) local: Option<LocalEntry>,
    pub(crate) remote: Option<RemoteEntry>,
}

/// The remote side of a path.
#[derive(Debug)]
pub(crate) enum RemoteEntry {
    Object(ObjectInfo),
    Unusable(Failure),
}

/// The listing of both sides.
pub(crate) struct PairedListing {
    local: mpsc::Receiver<Result<LocalPath>>,
    next_local: Option<LocalPath>,
    listing: Listing,
    prefix: String,
    page: VecDeque<(String, RemoteEntry)>,
    remote_ended: bool,
    started: bool,
}

impl PairedListing {
    /// `prefix` is empty or ends in `/`.
    pub(crate) fn new(folder: Arc<Folder>, bucket: &Bucket, prefix: &str) -> PairedListing {
        let (sender, local) = mpsc::channel(LISTED_AHEAD);
        std::thread::spawn(move || {
            if let Err(failure) = list_folder(&folder, &sender) {
                // The receiver may be gone.
                let _ = sender.blocking_send(Err(failure));
            }
        });
        PairedListing {
            local,
            next_local: None,
            listing: bucket.list(prefix, None),
            prefix: prefix.to_owned(),
            page: VecDeque::new(),
            remote_ended: false,
            started: false,
        }
    }

    /// All paths in order. If a side cannot be listed to its end, the last item is the failure.
    pub(crate) fn pairs(self) -> impl Stream<Item = Result<PathPair>> {
        // None after a failure: the rest would be incomplete.
        stream::unfold(Some(self), async |both| {
            let mut both = both?;
            match both.next().await {
                Ok(pair) => pair.map(|pair| (Ok(pair), Some(both))),
                Err(failure) => Some((Err(failure), None)),
            }
        })
    }

    /// The next path; `None` at the end of both sides.
    async fn next(&mut self) -> Result<Option<PathPair>> {
        if !self.started {
            self.started = true;
            self.next_local = self.local.recv().await.transpose()?;
        }
        while self.page.is_empty() && !self.remote_ended {
            match self.listing.next_page().await? {
                Some(page) => self.set_page(page),
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
        Ok(Some(PathPair { path, local: local.map(|local| local.entry), remote: remote.map(|(_, remote)| remote) }))
    }

    fn set_page(&mut self, page: ncaas_core::bucket::Page) {
        let below = |key: &str| key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
        let mut entries: Vec<(String, RemoteEntry)> = page
            .entries
            .into_iter()
            .map(|entry| (below(entry.key.as_str()), RemoteEntry::Object(entry)))
            .chain(page.unusable.into_iter().map(|one| (below(&one.name), RemoteEntry::Unusable(one.why))))
            // The prefix itself.
            .filter(|(path, _)| !path.is_empty())
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        self.page = entries.into();
    }
}

/// Sends everything below a folder, sorted by the bytes of the paths. Temporary files are left out.
fn list_folder(folder: &Folder, sender: &mpsc::Sender<Result<LocalPath>>) -> Result<()> {
    let lister = FolderLister { folder, sender };
    let root = folder.dir().try_clone().map_err(|error| folder.failure("list", Path::new(""), &error))?;
    lister.list(&root, "").map(drop)
}

struct FolderLister<'l> {
    folder: &'l Folder,
    sender: &'l mpsc::Sender<Result<LocalPath>>,
}

/// The receiver does not need the rest.
struct Closed;

impl FolderLister<'_> {
    fn list(&self, dir: &Dir, path: &str) -> Result<std::result::Result<(), Closed>> {
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
        // The name of a folder sorts with its `/`.
        let key = |(name, is_folder): &(Vec<u8>, bool)| [name.as_slice(), if *is_folder { b"/" } else { b"" }].concat();
        names.sort_by_cached_key(key);
        if names.is_empty() && !path.is_empty() {
            return Ok(self.send(path.to_owned(), LocalEntry::EmptyFolder));
        }
        for (name, is_folder) in names {
            let Ok(text) = str::from_utf8(&name) else {
                let shown = format!("{path}{}", escape_bytes(&name));
                let why = Failure::new(
                    Kind::BadKey,
                    format!("`{shown}` cannot be stored in a bucket: its name is not UTF-8"),
                );
                if self.send(shown, LocalEntry::Unusable(why)).is_err() {
                    return Ok(Err(Closed));
                }
                continue;
            };
            let sent = if is_folder {
                let below = open_real_folder(dir, text).map_err(|error| failed(&error))?;
                self.list(&below, &format!("{path}{text}/"))?
            } else {
                self.send_file(dir, text, format!("{path}{text}"))
            };
            if sent.is_err() {
                return Ok(Err(Closed));
            }
        }
        Ok(Ok(()))
    }

    fn send_file(&self, dir: &Dir, name: &str, path: String) -> std::result::Result<(), Closed> {
        let entry = match dir.symlink_metadata(name) {
            Ok(metadata) if metadata.is_symlink() => match self.folder.dir().metadata(&path) {
                Ok(metadata) if metadata.is_file() => LocalEntry::File(FileStamp::from_contained(&metadata)),
                Ok(metadata) if metadata.is_dir() => unusable(&path, "links to folders are not followed"),
                Ok(_) => unusable(&path, "it is a link to a device, FIFO or socket"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => unusable(&path, "it is a broken link"),
                Err(_) => unusable(&path, "it is a link that leads out of the folder"),
            },
            Ok(metadata) if metadata.is_file() => LocalEntry::File(FileStamp::from_contained(&metadata)),
            Ok(metadata) => unusable(&path, special_file(metadata.mode()).unwrap_or("it is not a regular file")),
            // Deleted since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => LocalEntry::Unusable(self.folder.failure("read", Path::new(&path), &error)),
        };
        let entry = match Key::new(path.as_str()) {
            Ok(_) => entry,
            Err(why) => LocalEntry::Unusable(why),
        };
        self.send(path, entry)
    }

    fn send(&self, path: String, entry: LocalEntry) -> std::result::Result<(), Closed> {
        self.sender.blocking_send(Ok(LocalPath { path, entry })).map_err(|_| Closed)
    }
}

fn unusable(path: &str, reason: &str) -> LocalEntry {
    LocalEntry::Unusable(Failure::new(Kind::UnsafePath, format!("`{path}` cannot be stored in a bucket: {reason}")))
}
