//! How the engine gets files: it is sent what there is in a folder, and asks for the content of what it does not have.
//!
//! The protocol is fsutil's (`receive.go` in tonistiigi/fsutil). We send a `STAT` for every entry in the order of the
//! paths, and an empty one at the end; the engine asks with `REQ` for the file with the number of its `STAT`, and gets
//! `DATA`, an empty one at the end; a `FIN` each ends it. What is left out and what is wanted it says beforehand, by
//! patterns, for it is the engine that reads `.dockerignore`.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::{Stream, stream};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout::short_hash;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::follow_links;
use crate::builder::context::{Entry, walk};
use crate::builder::dockerignore::{Descend, Ignore, Matched};

/// How much of a file goes into one packet, in bytes.
const PIECE: usize = 128 << 10;
/// How many packets may wait for the engine.
const AHEAD: usize = 32;

/// Bits of Go's `os.FileMode`, in which the engine takes modes.
mod go {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const SET_UID: u32 = 1 << 23;
    pub(super) const SET_GID: u32 = 1 << 22;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// A folder that the engine may read.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Folder(path.to_owned())
    }
}

/// The folders that the engine may read, by the names that it has for them.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    context: Folder,
    dockerfile: Folder,
    sent: Arc<AtomicU64>,
}

impl Folders {
    pub(super) fn new(context: Folder, dockerfile: Folder) -> Self {
        Folders { context, dockerfile, sent: Arc::default() }
    }

    /// Bytes of files that the engine has asked for so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What stands for the context's folder on this machine.
    pub(super) fn key(&self) -> String {
        let path = self.context.0.canonicalize().unwrap_or_else(|_| self.context.0.clone());
        let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        format!("ncaas-{}", short_hash(&format!("{}:{}", machine.trim(), path.display())))
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Folders {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let asked = Subject::from_metadata(request.metadata());
        let root = match asked.one("dir-name") {
            Some("context") => &self.context.0,
            Some("dockerfile") => &self.dockerfile.0,
            other => return Err(Status::not_found(format!("no folder `{}` to read", other.unwrap_or_default()))),
        };
        let selection = asked.selection(root).map_err(|failure| Status::invalid_argument(failure.message))?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let sending = Arc::new(Sending {
            root: root.clone(),
            selection,
            files: Mutex::default(),
            sender,
            sent: Arc::clone(&self.sent),
        });
        sending.serve(request.into_inner());
        let packets = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        Ok(Response::new(Box::pin(packets)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("use DiffCopy"))
    }
}

/// What the engine says about a folder that it wants, in the call's metadata.
struct Subject(HashMap<String, Vec<String>>);

impl Subject {
    fn from_metadata(metadata: &MetadataMap) -> Self {
        let mut asked: HashMap<String, Vec<String>> = HashMap::new();
        for name in ["dir-name", "include-patterns", "exclude-patterns", "followpaths"] {
            // What is not plain text comes escaped as in a URL's query, and a field of its own says so.
            let encoded = metadata.get(format!("{name}-encoded")).is_some();
            // Engines before 23.0 do not escape, and send what is not ASCII as it is.
            let values = metadata.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_encoded_bytes()));
            let values = values.map(|value| if encoded { unescape(&value) } else { value.into_owned() });
            asked.insert(name.to_owned(), values.collect());
        }
        Subject(asked)
    }

    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    fn selection(&self, root: &Path) -> Result<Selection> {
        let lines = |values: &[String]| Ignore::new(values.iter().map(String::as_str));
        let mut wanted = self.all("include-patterns").to_vec();
        match follow_links::paths(root, self.all("followpaths")) {
            // A path that is the folder itself wants all of it.
            Some(paths) => wanted.extend(paths),
            None => wanted.clear(),
        }
        let wanted = if wanted.is_empty() { None } else { Some(lines(&wanted)?) };
        Ok(Selection { out: lines(self.all("exclude-patterns"))?, wanted })
    }
}

fn unescape(value: &str) -> String {
    form_urlencoded::parse(value.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Which entries of a folder are sent.
struct Selection {
    /// Patterns of what is left out.
    out: Ignore,
    /// Patterns of what is wanted; none for everything.
    wanted: Option<Ignore>,
}

/// One folder on its way to the engine.
struct Sending {
    root: PathBuf,
    selection: Selection,
    /// By the number of its `STAT`: each file's path, none for what has no content.
    files: Mutex<Vec<Option<PathBuf>>>,
    sender: mpsc::Sender<Result<Packet, Status>>,
    sent: Arc<AtomicU64>,
}

impl Sending {
    /// Starts to send, and to hear what the engine asks for.
    fn serve(self: Arc<Self>, mut requests: Streaming<Packet>) {
        let stats = Arc::clone(&self);
        std::thread::spawn(move || stats.report(stats.send_stats()));
        let (wanted, mut queue) = mpsc::unbounded_channel::<u32>();
        let data = Arc::clone(&self);
        std::thread::spawn(move || {
            while let Some(number) = queue.blocking_recv() {
                let sent = data.send_file(number);
                if sent.is_err() {
                    return data.report(sent);
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(Some(packet)) = requests.message().await {
                match PacketType::try_from(packet.r#type) {
                    Ok(PacketType::PacketReq) if wanted.send(packet.id).is_ok() => {}
                    Ok(PacketType::PacketFin) => {
                        let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
                        // The engine may have gone with its last word.
                        self.sender.send(Ok(fin)).await.unwrap_or(());
                        return;
                    }
                    // An error is the engine's own, and it tells of it in the build.
                    _ => return,
                }
            }
        });
    }

    fn report(&self, outcome: Result<()>) {
        if let Err(failure) = outcome {
            // With nobody there to receive it, the build has ended for a reason of its own.
            self.sender.blocking_send(Err(Status::failed_precondition(failure.message))).unwrap_or(());
        }
    }

    fn send(&self, packet: Packet) -> Result<()> {
        self.sender.blocking_send(Ok(packet)).map_err(|_| Failure::new(Kind::EngineError, "the engine has gone"))
    }

    fn send_stats(&self) -> Result<()> {
        // Folders on the way to the entry at hand: sent once something in them is.
        let mut pending: Vec<Entry> = Vec::new();
        let mut matched: HashMap<String, Matched> = HashMap::new();
        walk(&self.root, &self.selection.out, Descend::IfReachable, |entry| {
            let is_folder = entry.metadata.is_dir();
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            pending.retain(|folder| is_within(&entry.path, &folder.path));
            matched.retain(|folder, _| is_within(&entry.path, folder));
            let wanted = match &self.selection.wanted {
                None => true,
                Some(patterns) => {
                    let (wanted, these) =
                        patterns.matches(&entry.path, &matched.get(parent).cloned().unwrap_or_default());
                    if is_folder {
                        matched.insert(entry.path.clone(), these);
                    }
                    wanted
                }
            };
            if !wanted || entry.left_out {
                if is_folder {
                    pending.push(entry);
                }
                return Ok(());
            }
            for folder in pending.drain(..) {
                self.send_stat(&folder)?;
            }
            self.send_stat(&entry)
        })?;
        self.send(Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() })
    }

    fn send_stat(&self, entry: &Entry) -> Result<()> {
        let metadata = &entry.metadata;
        let kind = metadata.file_type();
        if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
            return Ok(());
        }
        let linkname = if kind.is_symlink() {
            let target = std::fs::read_link(&entry.host).doing("read", &entry.host)?;
            target.to_string_lossy().into_owned()
        } else {
            String::new()
        };
        // What is in the context belongs to root in the image, as with the docker CLI.
        let stat = Stat {
            path: entry.path.clone(),
            mode: mode(metadata),
            size: if kind.is_dir() { 0 } else { metadata.len().try_into().unwrap_or(i64::MAX) },
            mod_time: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            linkname,
            ..Stat::default()
        };
        let file = kind.is_file().then(|| entry.host.clone());
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        self.send(Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() })
    }

    fn send_file(&self, number: u32) -> Result<()> {
        let file = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            // Each is asked for once.
            files.get_mut(number as usize).and_then(Option::take)
        };
        let path =
            file.ok_or_else(|| Failure::new(Kind::EngineError, "the engine asks for a file that was not offered"))?;
        let mut file = std::fs::File::open(&path).doing("read", &path)?;
        let data = |data| Packet { r#type: PacketType::PacketData.into(), id: number, data, ..Packet::default() };
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).doing("read", &path)?;
            piece.truncate(read);
            self.sent.fetch_add(read as u64, Ordering::Relaxed);
            self.send(data(piece))?;
            // The empty one is the end.
            if read == 0 {
                return Ok(());
            }
        }
    }
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn mode(metadata: &std::fs::Metadata) -> u32 {
    let kind = metadata.file_type();
    let has = |bit: u32, go: u32| if metadata.mode() & bit != 0 { go } else { 0 };
    let kind = match () {
        () if kind.is_dir() => go::DIRECTORY,
        () if kind.is_symlink() => go::SYMLINK,
        () => 0,
    };
    kind | metadata.mode() & 0o777 | has(0o4000, go::SET_UID) | has(0o2000, go::SET_GID) | has(0o1000, go::STICKY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_text_comes_escaped() {
        assert_eq!(unescape("data+1%2F%C3%A9%26x%3D1"), "data 1/é&x=1");
    }

    #[test]
    fn a_name_that_begins_alike_is_not_within() {
        assert!(is_within("a/b", "a"));
        assert!(!is_within("ab/c", "a"));
        assert!(!is_within("a", "a"));
    }
}
