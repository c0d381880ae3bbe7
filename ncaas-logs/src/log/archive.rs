//! The log driver's files, read through the engine's archive endpoint: for users who are not root, and for engines on
//! other machines. Ten to thirty times as fast as the engine's stream.
//!
//! A helper container that is never started mounts the log's folder read-only, and the engine is asked for the log
//! files in it. Other files of that folder contain the container's environment; they are never requested.

use std::collections::VecDeque;
use std::io::Read;

use bollard::models::ContainerInspectResponse;
use ncaas_core::blocking::join_blocking;
use ncaas_core::engine::Engine;
use ncaas_core::engine::archive::{ArchiveReader, archive_interrupted};
use ncaas_core::failure::{Kind, NoneIf, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::driver::{compresses, option};
use super::entry::LogEntry;
use super::file_parser::MissingOutput;
use super::files::Entries;
use super::helper_container::Helper;
use super::query::Query;

/// Where the helper mounts the folder.
const MOUNTED: &str = "/ncaas-log";
/// The maximum number of rotated files that are requested.
const ROTATED: u32 = 1000;

/// Size of the pieces of a file, in bytes, and how many may wait.
const PIECE: u64 = 256 << 10;
const PIECES: usize = 4;

/// One file that is being read.
struct Download {
    /// Its content. The end says nothing until the download has ended too.
    pieces: mpsc::Receiver<Vec<u8>>,
    /// The download, which has the helper container. A file that does not exist is not a failure.
    download: JoinHandle<Result<()>>,
}

/// The files of one container's log.
pub(super) struct Archive {
    engine: Engine,
    image: String,
    folder: String,
    /// Names of the files in the folder, oldest first. Rotated files need not exist.
    names: VecDeque<String>,
    /// Kept here, so that it continues when a read of it is dropped.
    reading: Option<Download>,
    has_begun: bool,
    entries: Entries,
    /// How many of the next wanted entries are left out.
    skip: u64,
}

impl Archive {
    /// The files of a container that logs with the `json-file` driver. Returns none if they cannot be read in this way.
    pub(super) fn new(engine: &Engine, inspected: &ContainerInspectResponse, query: &Query) -> Option<Self> {
        let path = inspected.log_path.as_deref()?;
        let (folder, name) = path.rsplit_once('/').filter(|(folder, _)| folder.starts_with('/'))?;
        if compresses(inspected) {
            return None;
        }
        let rotated = option(inspected, "max-file").and_then(|files| files.parse().ok()).unwrap_or(1).min(ROTATED);
        let mut names: VecDeque<String> = (1..rotated).rev().map(|number| format!("{name}.{number}")).collect();
        names.push_back(name.to_owned());
        Some(Archive {
            engine: engine.clone(),
            image: inspected.image.clone()?,
            folder: folder.to_owned(),
            names,
            reading: None,
            has_begun: false,
            entries: Entries::new(query),
            skip: 0,
        })
    }

    /// Leaves out the first `count` wanted entries.
    pub(super) fn skip(&mut self, count: u64) {
        self.skip = count;
    }

    /// Reads a piece and gives its entries. Returns false at the end. It may be dropped at any time and called again.
    pub(super) async fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        let skip = &mut self.skip;
        let mut give = |entry: &LogEntry<'_>| {
            if *skip > 0 {
                *skip -= 1;
            } else {
                give(entry);
            }
        };
        let Some(reading) = &mut self.reading else {
            let Some(name) = self.names.pop_front() else { return Ok(false) };
            self.reading = Some(start(self.engine.clone(), self.image.clone(), self.folder.clone(), name));
            return Ok(true);
        };
        let Some(piece) = reading.pieces.recv().await else {
            let ended = join_blocking(&mut reading.download).await;
            self.reading = None;
            ended?;
            self.entries.next_file(&mut give);
            return Ok(!self.names.is_empty());
        };
        self.has_begun = true;
        let mut content = piece.as_slice();
        while !content.is_empty() {
            let space = self.entries.space();
            let taken = content.len().min(space.len());
            space[..taken].copy_from_slice(&content[..taken]);
            self.entries.filled(taken, &mut give);
            content = &content[taken..];
        }
        Ok(true)
    }

    /// Whether the engine hands out the files.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(super) fn missing(&self) -> MissingOutput {
        self.entries.missing()
    }
}

/// Starts to read one file.
fn start(engine: Engine, image: String, folder: String, name: String) -> Download {
    let (sender, pieces) = mpsc::channel(PIECES);
    let send = move |archive: &mut tar::Archive<ArchiveReader>| {
        for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
            let mut entry = entry.map_err(|error| archive_interrupted(&error))?;
            loop {
                let mut piece = Vec::with_capacity(PIECE as usize);
                let read = entry.by_ref().take(PIECE).read_to_end(&mut piece);
                if read.map_err(|error| archive_interrupted(&error))? == 0 {
                    break;
                }
                if sender.blocking_send(piece).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    let download = async move {
        let helper = Helper::create(&engine, image, folder, MOUNTED).await?;
        let sent = engine.download(helper.name(), &format!("{MOUNTED}/{name}"), send).await;
        sent.none_if(&[Kind::FileNotFound]).map(drop)
    };
    Download { pieces, download: tokio::spawn(download) }
}
