//! The kernel's word of new files in a directory bucket, so that nobody has to look for them.
//!
//! Told of are files that have been closed after writing, and files that were moved into place; so a file that is still
//! being written is not looked at. New folders are told of too: what lies in them has to be listed, for it may be older
//! than the notice.

use std::path::{Path, PathBuf};

use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::SUBMISSIONS;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::found::is_submit_file;

/// Kinds of file systems that other machines write to without this kernel knowing: NFS, SMB (three of them), 9P, FUSE,
/// Ceph, AFS, Lustre, GPFS. From statfs(2) and the headers of those that are not in it.
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

/// What the kernel tells.
#[derive(Debug, PartialEq)]
pub(super) enum Notice {
    /// A submit file is there, whole.
    File(Key),
    /// There is a new folder, or some notices got lost: it takes a listing to know.
    Look,
}

/// The kernel's watch on one directory bucket.
pub(super) struct Kernel {
    root: PathBuf,
    watcher: RecommendedWatcher,
}

/// What it tells.
pub(super) struct Notices(UnboundedReceiver<Notice>);

impl Notices {
    /// What has been told since the last time, at least one thing; none when nothing will be told any more.
    pub(super) async fn next(&mut self) -> Option<Vec<Notice>> {
        let mut notices = Vec::new();
        let told = self.0.recv_many(&mut notices, 1000).await;
        (told > 0).then_some(notices)
    }
}

impl Kernel {
    /// Watches the bucket at `root`; none where the file system does not tell of what other machines write.
    ///
    /// # Errors
    /// When the kernel has no watch to give.
    pub(super) fn watch(root: &Path) -> Result<Option<(Self, Notices)>> {
        if is_remote(root) {
            return Ok(None);
        }
        let (sender, receiver) = unbounded_channel();
        let below = root.to_owned();
        let watcher = notify::recommended_watcher(move |event| tell(&below, event, &sender))
            .map_err(|error| cannot_watch(root, &error))?;
        Ok(Some((Kernel { root: root.to_owned(), watcher }, Notices(receiver))))
    }

    /// Asks for notices of the bucket, its groups and their submissions; again is no harm, and needed for what is new.
    ///
    /// # Errors
    /// When the kernel has no more to give.
    pub(super) fn arm<'g>(&mut self, groups: impl Iterator<Item = &'g str>) -> Result<()> {
        self.arm_folder(&self.root.clone(), RecursiveMode::NonRecursive)?;
        for group in groups {
            let group = self.root.join(group);
            self.arm_folder(&group, RecursiveMode::NonRecursive)?;
            self.arm_folder(&group.join(SUBMISSIONS), RecursiveMode::Recursive)?;
        }
        Ok(())
    }

    fn arm_folder(&mut self, folder: &Path, mode: RecursiveMode) -> Result<()> {
        match self.watcher.watch(folder, mode) {
            Err(error) if folder.is_dir() => Err(cannot_watch(folder, &error)),
            // Not there yet, or no more: the folder above tells when it comes.
            _ => Ok(()),
        }
    }
}

/// Passes on what matters; runs on the thread that hears the kernel.
fn tell(root: &Path, event: notify::Result<Event>, to: &UnboundedSender<Notice>) {
    let notices: Vec<Notice> = match event {
        Ok(event) if event.need_rescan() => vec![Notice::Look],
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().filter_map(|path| submit_file(root, path)).collect()
            }
            EventKind::Create(CreateKind::Folder) => vec![Notice::Look],
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => event
                .paths
                .iter()
                .filter_map(|path| submit_file(root, path).or_else(|| path.is_dir().then_some(Notice::Look)))
                .collect(),
            EventKind::Remove(_) if event.paths.iter().any(|path| path == root) => vec![Notice::Look],
            _ => Vec::new(),
        },
        Err(_) => vec![Notice::Look],
    };
    for notice in notices {
        // A watch that has ended hears nothing any more.
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
        notify::ErrorKind::MaxFilesWatch => "the kernel's limit of watches is reached".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(Kind::Io, format!("the kernel does not tell of changes in `{}`: {why}", folder.display()))
        .hint("the watch lists the bucket instead; `sysctl fs.inotify` shows the kernel's limits")
}
