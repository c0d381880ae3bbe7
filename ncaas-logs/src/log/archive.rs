//! The log driver's files, read through the engine's archive endpoint: for users who are not root, and for engines on
//! other machines. Ten to thirty times as fast as the engine's stream.
//!
//! A helper container that is never started mounts the log's folder read-only, and the engine is asked for the log files
//! in it. Other files of that folder contain the container's environment; they are never requested.

use std::collections::VecDeque;
use std::pin::Pin;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::DownloadFromContainerOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::{Failure, Kind, Result};

use super::entry::LogEntry;
use super::file_parser::Lost;
use super::files::Entries;
use super::helper::Helper;
use super::query::Query;

/// Where the helper mounts the folder.
const MOUNTED: &str = "/ncaas-log";
/// The maximum number of rotated files that are requested.
const ROTATED: u32 = 1000;

type Body = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, bollard::errors::Error>>>>;

type Opening = Pin<Box<dyn Future<Output = Result<Option<Reading>>>>>;

/// One file that is being read.
struct Reading {
    body: Body,
    tar: Tar,
    /// It must exist while the file is read.
    _helper: Helper,
}

/// The files of one container's log.
pub(super) struct Archive {
    engine: Engine,
    image: String,
    folder: String,
    /// Names of the files in the folder, oldest first. Rotated files need not exist.
    names: VecDeque<String>,
    /// Kept here, so that it continues when a read of it is dropped.
    opening: Option<Opening>,
    reading: Option<Reading>,
    entries: Entries,
    /// How many of the next wanted entries are left out.
    skip: u64,
}

impl Archive {
    /// The files of a container that logs with the `json-file` driver. Returns none if they cannot be read in this way.
    pub(super) fn new(engine: &Engine, inspected: &ContainerInspectResponse, query: &Query) -> Option<Self> {
        let path = inspected.log_path.as_deref()?;
        let (folder, name) = path.rsplit_once('/').filter(|(folder, _)| folder.starts_with('/'))?;
        let options = inspected.host_config.as_ref()?.log_config.as_ref()?.config.as_ref();
        let option = |name: &str| options.and_then(|options| options.get(name)).map(String::as_str);
        if option("compress") == Some("true") {
            return None;
        }
        let rotated = option("max-file").and_then(|files| files.parse().ok()).unwrap_or(1).min(ROTATED);
        let mut names: VecDeque<String> = (1..rotated).rev().map(|number| format!("{name}.{number}")).collect();
        names.push_back(name.to_owned());
        Some(Archive {
            engine: engine.clone(),
            image: inspected.image.clone()?,
            folder: folder.to_owned(),
            names,
            opening: None,
            reading: None,
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
        if let Some(Reading { body, tar, .. }) = &mut self.reading {
            match body.next().await {
                Some(Ok(bytes)) => {
                    let mut content = tar.content(&bytes)?;
                    while !content.is_empty() {
                        let space = self.entries.space();
                        let taken = content.len().min(space.len());
                        space[..taken].copy_from_slice(&content[..taken]);
                        self.entries.filled(taken, &mut give);
                        content = &content[taken..];
                    }
                    return Ok(true);
                }
                Some(Err(error)) => return Err(error).engine_context("read", Subject::Engine),
                None if tar.is_whole() => {
                    self.reading = None;
                    self.entries.next_file(&mut give);
                }
                None => {
                    return Err(Failure::new(Kind::EngineError, "the engine sent only a part of the log's archive"));
                }
            }
        } else if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            self.reading = opened?;
        } else if let Some(name) = self.names.pop_front() {
            self.opening = Some(Box::pin(open(self.engine.clone(), self.image.clone(), self.folder.clone(), name)));
        }
        Ok(self.reading.is_some() || self.opening.is_some() || !self.names.is_empty())
    }

    /// Whether the engine hands out the files.
    pub(super) fn has_begun(&self) -> bool {
        self.reading.is_some()
    }

    pub(super) fn lost(&self) -> Lost {
        self.entries.lost()
    }
}

/// Requests the archive of one file; none if it does not exist.
async fn open(engine: Engine, image: String, folder: String, name: String) -> Result<Option<Reading>> {
    let helper = Helper::create(&engine, image, folder, MOUNTED).await?;
    let options = DownloadFromContainerOptions { path: format!("{MOUNTED}/{name}") };
    let mut body = Box::pin(engine.docker().download_from_container(helper.name(), Some(options)));
    match body.next().await {
        Some(Ok(first)) => {
            let body = futures_util::stream::iter([Ok(first)]).chain(body);
            Ok(Some(Reading { body: Box::pin(body), tar: Tar::default(), _helper: helper }))
        }
        Some(Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) | None => Ok(None),
        Some(Err(error)) => Err(error).engine_context("read", Subject::Engine),
    }
}

const BLOCK: usize = 512;

/// Extracts the only file of a tar archive that arrives in pieces.
#[derive(Debug, Default)]
struct Tar {
    header: Vec<u8>,
    /// How much of the file is missing; none before the end of its header.
    left: Option<u64>,
    /// The length of an extended header that comes next: it has the size of a very large file.
    extended: u64,
    size: Option<u64>,
}

impl Tar {
    /// The part of the piece that belongs to the file.
    fn content<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8]> {
        while self.left.is_none() && !piece.is_empty() {
            let wanted = if self.extended > 0 { self.extended as usize } else { BLOCK };
            let taken = piece.len().min(wanted - self.header.len());
            self.header.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if self.header.len() == wanted {
                self.take_header()?;
            }
        }
        let taken = (piece.len() as u64).min(self.left.unwrap_or(0));
        if let Some(left) = &mut self.left {
            *left -= taken;
        }
        Ok(&piece[..taken as usize])
    }

    fn take_header(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.header);
        if self.extended > 0 {
            self.extended = 0;
            self.size = size_of_extended(&block);
            return Ok(());
        }
        let broken = |_| Failure::new(Kind::EngineError, "the engine's archive of the log is not a tar archive");
        let block: [u8; BLOCK] = block.try_into().map_err(broken)?;
        let header = tar::Header::from_byte_slice(&block);
        let size = header.entry_size().map_err(|_| broken(Vec::new()))?;
        if header.entry_type().is_pax_local_extensions() {
            self.extended = size.next_multiple_of(BLOCK as u64);
        } else {
            self.left = Some(self.size.unwrap_or(size));
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.left == Some(0)
    }
}

/// `<length> size=<bytes>\n` among an extended header's records.
fn size_of_extended(records: &[u8]) -> Option<u64> {
    let records = std::str::from_utf8(records).ok()?;
    records.lines().find_map(|record| record.split_once(" size=")?.1.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archived(extended: bool, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        if extended {
            builder.append_pax_extensions([("size", content.len().to_string().as_bytes())]).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, "x-json.log", content).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn the_file_is_extracted_from_pieces_of_any_size() {
        let content: Vec<u8> = (0..5000u32).map(|number| number as u8).collect();
        for extended in [false, true] {
            let archive = archived(extended, &content);
            for piece in [1, 100, 512, 700, 100_000] {
                let mut tar = Tar::default();
                let mut read = Vec::new();
                for piece in archive.chunks(piece) {
                    read.extend_from_slice(tar.content(piece).unwrap());
                }
                assert!(read == content && tar.is_whole(), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_archive_that_breaks_off_is_not_whole() {
        let archive = archived(false, &[7; 2000]);
        let mut tar = Tar::default();
        tar.content(&archive[..1500]).unwrap();
        assert!(!tar.is_whole());
        assert!(!Tar::default().is_whole());
    }
}
