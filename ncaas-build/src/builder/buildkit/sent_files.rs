//! The files of a context that the engine has from earlier builds.
//!
//! The engine keeps the files of a context under a key that the client chooses, and asks again only for files whose
//! size or modification time differ. A file with other content but the same size and time (`cp -p`, `rsync -t`,
//! `tar -x`) would stay as it was. Therefore the client remembers what it sent: where inode or change time differ, or are too
//! recent to tell, it compares the content by a checksum; if that differs, it chooses a new key, and the engine asks
//! for everything.
//!
//! The memory is a file in the cache folder. It is removed while a build runs and written back when all files that the
//! engine asked for have been sent: if it is lost, everything is sent again.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crc_fast::{CrcAlgorithm, Digest};
use ncaas_core::blocking::lock;
use ncaas_core::file_stamp::FileStamp;
use ncaas_core::files::{cache_folder, random_id, write_whole};
use ncaas_core::layout::short_hash;
use serde::{Deserialize, Serialize};

/// A file whose change time is less than this before the time it was sent may have changed since without a new change
/// time, in nanoseconds: file systems count in clock ticks.
const TOO_RECENT: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentFile {
    stamp: FileStamp,
    /// CRC-64/NVME of the content; none if the engine did not ask for it.
    pub(super) checksum: Option<u64>,
}

impl SentFile {
    pub(super) fn new(metadata: &Metadata) -> Self {
        SentFile { stamp: FileStamp::from_metadata(metadata), checksum: None }
    }

    /// Whether the engine takes the two for the same.
    fn looks_like(&self, other: &SentFile) -> bool {
        (self.stamp.size, self.stamp.modified) == (other.stamp.size, other.stamp.modified)
    }
}

/// The files of one request of the engine, by their path.
pub(super) type RequestedFiles = HashMap<String, SentFile>;

#[derive(Debug, Default, Serialize, Deserialize)]
struct RememberedFiles {
    /// A part of the key under which the engine keeps the files.
    key: String,
    /// When the files were last compared with those of the context, in nanoseconds since 1970.
    compared: i64,
    /// By the name of the request: the engine keeps the files of each apart.
    requests: HashMap<String, RequestedFiles>,
}

/// The files of one context that the engine has.
#[derive(Debug)]
pub(super) struct SentFiles {
    path: Option<PathBuf>,
    memory: Mutex<RememberedFiles>,
    /// Requests that have begun and not ended.
    open_requests: Mutex<usize>,
}

impl SentFiles {
    /// The files of a context that the engine at an address has, as far as that is still right.
    pub(super) async fn open(context: &Path, engine: &str) -> Self {
        let root = context.canonicalize().unwrap_or_else(|_| context.to_owned());
        let name = short_hash(&format!("{engine}\n{}", root.display()));
        let path = cache_folder().map(|folder| folder.join("build").join(format!("{name}.json")));
        let file = path.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let memory = read(&file?)?;
            still_right(memory, &root)
        });
        let memory = compared.await.ok().flatten().unwrap_or_else(|| RememberedFiles {
            key: random_id(),
            compared: now(),
            requests: HashMap::new(),
        });
        SentFiles { path, memory: Mutex::new(memory), open_requests: Mutex::new(0) }
    }

    /// The key under which the engine keeps the files.
    pub(super) fn key(&self) -> String {
        lock(&self.memory).key.clone()
    }

    /// Begins a request of the engine, and returns the files that it had sent before.
    pub(super) fn begin(&self, request: &str) -> RequestedFiles {
        *lock(&self.open_requests) += 1;
        lock(&self.memory).requests.get(request).cloned().unwrap_or_default()
    }

    /// Ends a request: the engine has these files and no others.
    pub(super) fn end(&self, request: &str, files: RequestedFiles) {
        *lock(&self.open_requests) -= 1;
        lock(&self.memory).requests.insert(request.to_owned(), files);
    }

    pub(super) fn is_sending(&self) -> bool {
        *lock(&self.open_requests) > 0
    }
}

impl Drop for SentFiles {
    fn drop(&mut self) {
        // After a request that was interrupted, it is not known what the engine has.
        let Some(path) = self.path.as_ref().filter(|_| !self.is_sending()) else { return };
        let text = serde_json::to_vec(&*lock(&self.memory)).unwrap_or_default();
        // Without it, everything is sent again.
        write_whole(path, &text).unwrap_or(());
    }
}

/// The entry for a file whose metadata the engine gets. Its old checksum is still right if the engine will not ask for
/// it.
pub(super) fn remember(before: &RequestedFiles, path: &str, metadata: &Metadata) -> SentFile {
    let file = SentFile::new(metadata);
    let checksum = before.get(path).filter(|before| before.looks_like(&file)).and_then(|before| before.checksum);
    SentFile { checksum, ..file }
}

/// A checksum that is computed piece by piece.
pub(super) fn checksum() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

fn read(path: &Path) -> Option<RememberedFiles> {
    let text = std::fs::read(path).ok()?;
    // Until the build has ended, it is not known what the engine has.
    std::fs::remove_file(path).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The memory, if no file has changed in a way that the engine cannot see.
fn still_right(mut memory: RememberedFiles, root: &Path) -> Option<RememberedFiles> {
    let compared = now();
    for (path, sent) in memory.requests.values_mut().flatten() {
        let path = root.join(path);
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let file = SentFile::new(&metadata);
        let is_recent = sent.stamp.changed > memory.compared - TOO_RECENT;
        let is_same = sent.stamp == file.stamp && !is_recent;
        if !metadata.is_file() || !sent.looks_like(&file) || is_same {
            continue;
        }
        if sent.checksum.is_none() || checksum_of(&path) != sent.checksum {
            return None;
        }
        *sent = SentFile { checksum: sent.checksum, ..file };
    }
    memory.compared = compared;
    Some(memory)
}

fn checksum_of(path: &Path) -> Option<u64> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut digest = checksum();
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(digest.finalize()),
            read => digest.update(&piece[..read]),
        }
    }
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn memory(root: &Path, compared: i64) -> RememberedFiles {
        let path = root.join("f");
        let sent = SentFile { checksum: checksum_of(&path), ..SentFile::new(&path.metadata().unwrap()) };
        let files = RequestedFiles::from([("f".to_owned(), sent)]);
        RememberedFiles { key: "k".to_owned(), compared, requests: [("context".to_owned(), files)].into() }
    }

    fn write(root: &Path, content: &str) {
        let path = root.join("f");
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
    }

    #[test]
    fn content_is_compared_where_size_and_time_cannot_tell() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "one");
        assert!(still_right(memory(root, i64::MAX), root).is_some(), "nothing has changed");
        // Old enough that the change time alone tells.
        let before = memory(root, i64::MAX);
        write(root, "two");
        assert!(still_right(before, root).is_none(), "the engine would keep the old content");
        let before = memory(root, i64::MAX);
        write(root, "two");
        assert!(still_right(before, root).is_some(), "written again with the same content");
        let before = memory(root, i64::MAX);
        write(root, "four");
        assert!(still_right(before, root).is_some(), "the engine sees another size");
    }

    #[test]
    fn a_recent_change_time_does_not_tell() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "one");
        let mut before = memory(root, 0);
        let files = before.requests.get_mut("context").unwrap();
        files.get_mut("f").unwrap().checksum = Some(1);
        assert!(still_right(before, root).is_none());
    }
}
