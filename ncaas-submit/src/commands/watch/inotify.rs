//! New submit files in a directory bucket, detected with inotify.
//!
//! An event comes when a file was closed after writing or was moved into place, so a file that is still being written
//! is not read. A new folder has an event too: it has to be listed, because files in it may be older than the watch on
//! it.

use std::path::{Path, PathBuf};

use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::SUBMISSIONS;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::submit_files::is_submit_file;

/// Magic numbers of file systems on which other machines write without an event here: NFS, SMB (three of them), 9P,
/// FUSE, Ceph, AFS, Lustre, GPFS. From statfs(2) and the headers of those that are not in it.
const REMOTE: [u64; 10] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x6573_5546,
    0x00c3_6400,
    0x5346_414f,
    0x0bd0_0bd0,
    0x4750_4653,
];

/// The meaning of an event for the watch.
#[derive(Debug, PartialEq)]
pub(super) enum Notice {
    /// A submit file was written.
    File(Key),
    /// A folder was created, or events were lost: the bucket has to be listed.
    List,
}

/// An inotify watch on a directory bucket.
pub(super) struct InotifyWatch {
    root: PathBuf,
    watcher: RecommendedWatcher,
}

/// The events of a watch.
pub(super) struct Notices(UnboundedReceiver<Notice>);

impl Notices {
    /// The notices since the last call, at least one; none when the watch has ended.
    pub(super) async fn next(&mut self) -> Option<Vec<Notice>> {
        let mut notices = Vec::new();
        let count = self.0.recv_many(&mut notices, 1000).await;
        (count > 0).then_some(notices)
    }
}

impl InotifyWatch {
    /// Watches the bucket at `root`; none on a file system that has no events for the writes of other machines.
    pub(super) fn open(root: &Path) -> Result<Option<(Self, Notices)>> {
        if is_remote(root) {
            return Ok(None);
        }
        let (sender, receiver) = unbounded_channel();
        let below = root.to_owned();
        let watcher = notify::recommended_watcher(move |event| send_notices(&below, event, &sender))
            .map_err(|error| cannot_watch(root, &error))?;
        Ok(Some((InotifyWatch { root: root.to_owned(), watcher }, Notices(receiver))))
    }

    /// Watches the bucket, its groups and their submissions. Call it again when groups were created.
    pub(super) fn watch_groups<'g>(&mut self, groups: impl Iterator<Item = &'g str>) -> Result<()> {
        self.watch_folder(&self.root.clone(), RecursiveMode::NonRecursive)?;
        for group in groups {
            let group = self.root.join(group);
            self.watch_folder(&group, RecursiveMode::NonRecursive)?;
            self.watch_folder(&group.join(SUBMISSIONS), RecursiveMode::Recursive)?;
        }
        Ok(())
    }

    fn watch_folder(&mut self, folder: &Path, mode: RecursiveMode) -> Result<()> {
        match self.watcher.watch(folder, mode) {
            Err(error) if folder.is_dir() => Err(cannot_watch(folder, &error)),
            // The folder does not exist: the watch on its parent has an event when it is created.
            _ => Ok(()),
        }
    }
}

/// Sends the notices of an event; runs on the thread that reads inotify.
fn send_notices(root: &Path, event: notify::Result<Event>, to: &UnboundedSender<Notice>) {
    let notices: Vec<Notice> = match event {
        Ok(event) if event.need_rescan() => vec![Notice::List],
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().filter_map(|path| submit_file(root, path)).collect()
            }
            EventKind::Create(CreateKind::Folder) => vec![Notice::List],
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => event
                .paths
                .iter()
                .filter_map(|path| submit_file(root, path).or_else(|| path.is_dir().then_some(Notice::List)))
                .collect(),
            EventKind::Remove(_) if event.paths.iter().any(|path| path == root) => vec![Notice::List],
            _ => Vec::new(),
        },
        Err(_) => vec![Notice::List],
    };
    for notice in notices {
        // It fails only when the watch has ended.
        to.send(notice).unwrap_or(());
    }
}

fn submit_file(root: &Path, path: &Path) -> Option<Notice> {
    let key = path.strip_prefix(root).ok()?.to_str()?;
    let name = key.rsplit('/').next()?;
    if !is_submit_file(key) || name.starts_with(ncaas_core::files::TEMPORARY_PREFIX) {
        return None;
    }
    Key::new(key).ok().map(Notice::File)
}

fn is_remote(root: &Path) -> bool {
    // The field's type differs between systems; kinds are compared as the 32 bits that they are.
    rustix::fs::statfs(root).is_ok_and(|stat| REMOTE.contains(&((stat.f_type as u64) & 0xffff_ffff)))
}

fn cannot_watch(folder: &Path, error: &notify::Error) -> Failure {
    let why = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "the kernel's limit of inotify watches is reached".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(Kind::Io, format!("cannot watch `{}` with inotify: {why}", folder.display()))
        .hint("the bucket is listed instead; `sysctl fs.inotify` shows the kernel's limits")
}
