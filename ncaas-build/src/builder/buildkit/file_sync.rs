//! Sends files to the engine: it gets the metadata of every entry of a folder, and asks for the content of files that
//! it does not have.
//!
//! The protocol is that of fsutil (`receive.go` in tonistiigi/fsutil). The client sends a `STAT` for every entry in the
//! order of the paths, and an empty one at the end. The engine asks with `REQ` for a file by the number of its `STAT`,
//! and gets `DATA`, an empty one at the end. `FIN` in both directions ends the request. The engine itself reads
//! `.dockerignore`, and sends patterns of excluded and wanted paths with its request.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSync;
use futures_util::{Stream, stream};
use ncaas_core::blocking::lock;
use ncaas_core::engine::path::go_mode;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout::short_hash;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::follow_links::resolve_links;
use super::sent_files::{self, RequestedFiles, SentFiles};
use crate::builder::context::{self, ContextEntry, walk};
use crate::builder::dockerfile::DOCKERIGNORE;
use crate::builder::dockerignore::{Descend, DockerIgnore, Matched};

/// Size of the pieces of a file that go into one packet, in bytes.
const PIECE: usize = 128 << 10;
/// Number of packets that may wait for the engine.
const AHEAD: usize = 32;

/// The folders that the engine may read.
#[derive(Debug, Clone)]
pub(super) struct Folders(Arc<SyncState>);

#[derive(Debug)]
struct SyncState {
    context: PathBuf,
    /// Patterns of files of the context that are excluded before those of the engine.
    excluded: Vec<String>,
    dockerfile: PathBuf,
    sent_files: SentFiles,
    sent: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

impl Folders {
    pub(super) fn new(context: &Path, excluded: &[String], dockerfile: &Path, sent_files: SentFiles) -> Self {
        Folders(Arc::new(SyncState {
            context: context.to_owned(),
            excluded: excluded.to_vec(),
            dockerfile: dockerfile.to_owned(),
            sent_files,
            sent: AtomicU64::new(0),
            failure: Mutex::default(),
        }))
    }

    /// Bytes of file content sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Whether a request of the engine is being answered.
    pub(super) fn is_sending(&self) -> bool {
        self.0.sent_files.is_sending()
    }

    /// Why a file could not be sent.
    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.0.failure).clone()
    }

    /// The key under which the engine keeps the files of the context.
    pub(super) fn key(&self) -> String {
        let context = &self.0.context;
        let path = context.canonicalize().unwrap_or_else(|_| context.clone());
        let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let key = self.0.sent_files.key();
        format!("ncaas-{}", short_hash(&format!("{}:{}:{key}", machine.trim(), path.display())))
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Folders {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let wanted = SyncRequest::from_metadata(request.metadata());
        let (root, excluded): (_, &[String]) = match wanted.first("dir-name") {
            Some("context") => (&self.0.context, &self.0.excluded),
            Some("dockerfile") => (&self.0.dockerfile, &[]),
            other => {
                return Err(Status::not_found(format!("the folder `{}` does not exist", other.unwrap_or_default())));
            }
        };
        let selection =
            wanted.selection(root, excluded).map_err(|failure| Status::invalid_argument(failure.message))?;
        let name = wanted.name();
        let before = self.0.sent_files.begin(&name);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let transfer = Arc::new(FolderTransfer {
            root: root.clone(),
            selection,
            entries: Mutex::default(),
            name,
            before,
            files: Mutex::default(),
            sender,
            shared: Arc::clone(&self.0),
        });
        transfer.serve(request.into_inner());
        let packets = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        Ok(Response::new(Box::pin(packets)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("use DiffCopy"))
    }
}

/// The fields of a request for a folder, from the metadata of the call.
struct SyncRequest(HashMap<String, Vec<String>>);

impl SyncRequest {
    fn from_metadata(metadata: &MetadataMap) -> Self {
        let mut fields: HashMap<String, Vec<String>> = HashMap::new();
        for name in ["dir-name", "include-patterns", "exclude-patterns", "followpaths"] {
            // Values that are not plain ASCII are escaped as in the query of a URL, which a separate field says.
            let encoded = metadata.get(format!("{name}-encoded")).is_some();
            // Engines before 23.0 do not escape, and send other characters as they are.
            let values = metadata.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_encoded_bytes()));
            let values = values.map(|value| if encoded { unescape(&value) } else { value.into_owned() });
            fields.insert(name.to_owned(), values.collect());
        }
        SyncRequest(fields)
    }

    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// The name under which the engine keeps the files: it keeps those of `.dockerignore` apart from the context.
    fn name(&self) -> String {
        let folder = self.first("dir-name").unwrap_or_default();
        let wanted = [self.all("followpaths"), self.all("include-patterns")].concat();
        if wanted == [DOCKERIGNORE] { format!("{folder}-{DOCKERIGNORE}") } else { folder.to_owned() }
    }

    fn selection(&self, root: &Path, excluded: &[String]) -> Result<EntrySelection> {
        let patterns = |values: &[String]| DockerIgnore::parse(values.iter().map(String::as_str));
        let mut wanted = self.all("include-patterns").to_vec();
        match resolve_links(root, self.all("followpaths")) {
            Some(paths) => wanted.extend(paths),
            // The folder itself is wanted, and so everything in it.
            None => wanted.clear(),
        }
        let wanted = if wanted.is_empty() { None } else { Some(patterns(&wanted)?) };
        Ok(EntrySelection { excluded: patterns(&[excluded, self.all("exclude-patterns")].concat())?, wanted })
    }
}

fn unescape(value: &str) -> String {
    form_urlencoded::parse(value.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Selects the entries of a folder that are sent.
struct EntrySelection {
    excluded: DockerIgnore,
    /// None for everything.
    wanted: Option<DockerIgnore>,
}

/// An entry that the engine may ask for: its path on this machine, and its path in the folder.
type OfferedFile = (PathBuf, String);

/// The answer to one request of the engine.
struct FolderTransfer {
    root: PathBuf,
    selection: EntrySelection,
    /// By the number of its `STAT`; none for entries without content.
    entries: Mutex<Vec<Option<OfferedFile>>>,
    name: String,
    /// The files that the engine had before.
    before: RequestedFiles,
    /// The files that the engine has after it.
    files: Mutex<RequestedFiles>,
    sender: mpsc::Sender<Result<Packet, Status>>,
    shared: Arc<SyncState>,
}

impl FolderTransfer {
    /// Starts to send, and to receive what the engine asks for.
    fn serve(self: Arc<Self>, mut requests: Streaming<Packet>) {
        let stats = Arc::clone(&self);
        std::thread::spawn(move || stats.report(stats.send_stats()));
        let (wanted, mut queue) = mpsc::unbounded_channel::<u32>();
        let content = Arc::clone(&self);
        std::thread::spawn(move || {
            while let Some(number) = queue.blocking_recv() {
                let sent = content.send_file(number);
                if sent.is_err() {
                    return content.report(sent);
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(Some(packet)) = requests.message().await {
                match PacketType::try_from(packet.r#type) {
                    Ok(PacketType::PacketReq) if wanted.send(packet.id).is_ok() => {}
                    Ok(PacketType::PacketFin) => {
                        self.shared.sent_files.end(&self.name, std::mem::take(&mut lock(&self.files)));
                        let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
                        // The engine may have closed the connection already.
                        self.sender.send(Ok(fin)).await.unwrap_or(());
                        return;
                    }
                    // The engine reports its own errors in the build.
                    _ => return,
                }
            }
        });
    }

    fn report(&self, outcome: Result<()>) {
        if let Err(failure) = outcome {
            let message = failure.message.clone();
            lock(&self.shared.failure).get_or_insert(failure);
            // If nobody receives it, the build has ended for another reason.
            self.sender.blocking_send(Err(Status::failed_precondition(message))).unwrap_or(());
        }
    }

    fn send(&self, packet: Packet) -> Result<()> {
        let closed = |_| Failure::new(Kind::EngineError, "the engine closed the connection while files were sent");
        self.sender.blocking_send(Ok(packet)).map_err(closed)
    }

    fn send_stats(&self) -> Result<()> {
        // Folders above the current entry, which are sent once something in them is.
        let mut pending: Vec<ContextEntry> = Vec::new();
        let mut matched: HashMap<String, Matched> = HashMap::new();
        walk(&self.root, &self.selection.excluded, Descend::IfReachable, |entry| {
            let is_folder = entry.metadata.is_dir();
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            pending.retain(|folder| is_below(&entry.path, &folder.path));
            matched.retain(|folder, _| is_below(&entry.path, folder));
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
            if !wanted || entry.excluded {
                if is_folder {
                    pending.push(entry);
                }
                return Ok(());
            }
            for folder in pending.drain(..) {
                self.send_stat(folder)?;
            }
            self.send_stat(entry)
        })?;
        self.send(Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() })
    }

    fn send_stat(&self, entry: ContextEntry) -> Result<()> {
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
        // As with the docker CLI, files of the context belong to root in the image.
        let stat = Stat {
            path: entry.path.clone(),
            mode: go_mode(metadata),
            size: if kind.is_dir() { 0 } else { metadata.len().try_into().unwrap_or(i64::MAX) },
            mod_time: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            linkname,
            ..Stat::default()
        };
        let mut file = None;
        if kind.is_file() {
            let remembered = sent_files::remember(&self.before, &entry.path, metadata);
            lock(&self.files).insert(entry.path.clone(), remembered);
            file = Some((entry.host, entry.path));
        }
        lock(&self.entries).push(file);
        self.send(Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() })
    }

    fn send_file(&self, number: u32) -> Result<()> {
        // The engine asks for each file once.
        let file = lock(&self.entries).get_mut(number as usize).and_then(Option::take);
        let (host, path) =
            file.ok_or_else(|| Failure::new(Kind::EngineError, "the engine asked for a file that was not offered"))?;
        let mut file = context::open(&host)?;
        let mut checksum = sent_files::checksum();
        let data = |data| Packet { r#type: PacketType::PacketData.into(), id: number, data, ..Packet::default() };
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).doing("read", &host)?;
            piece.truncate(read);
            checksum.update(&piece);
            self.shared.sent.fetch_add(read as u64, Ordering::Relaxed);
            if read == 0
                && let Some(remembered) = lock(&self.files).get_mut(&path)
            {
                remembered.checksum = Some(checksum.finalize());
            }
            // An empty packet ends the file.
            self.send(data(piece))?;
            if read == 0 {
                return Ok(());
            }
        }
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_values_are_decoded() {
        assert_eq!(unescape("data+1%2F%C3%A9%26x%3D1"), "data 1/é&x=1");
    }

    #[test]
    fn a_name_with_the_same_beginning_is_not_below() {
        assert!(is_below("a/b", "a"));
        assert!(!is_below("ab/c", "a"));
        assert!(!is_below("a", "a"));
    }
}
