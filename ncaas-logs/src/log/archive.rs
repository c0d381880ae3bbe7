//! The log's files through the engine's archive requests, where this process may not read them: as somebody who is not
//! root, or beside an engine on another machine. Ten to thirty times as fast as the engine's stream.
//!
//! A helper container that is never started mounts the folder in which the log lies, read-only, and the engine is asked
//! for the log's files there and for no other: what else lies in that folder holds the container's environment.

use std::collections::VecDeque;
use std::pin::Pin;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::DownloadFromContainerOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::{Failure, Kind, Result};

use super::entry::Entry;
use super::files::Entries;
use super::helper::Helper;
use super::json_file::JsonFile;

/// Where the helper mounts the folder.
const MOUNTED: &str = "/ncaas-log";
/// The most rotated files that are looked for.
const ROTATED: u32 = 1000;

type Body = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, bollard::errors::Error>>>>;

type Opening = Pin<Box<dyn Future<Output = Result<Option<Reading>>>>>;

/// One file that is being read.
struct Reading {
    body: Body,
    tar: Tar,
    /// Stays as long as something is read from it.
    _helper: Helper,
}

/// The files of one container's log.
pub(crate) struct Archive {
    engine: Engine,
    image: String,
    folder: String,
    /// Names of the files in the folder, oldest first; those that were rotated may not be there.
    names: VecDeque<String>,
    /// Kept, so that it goes on where a read of it is dropped.
    opening: Option<Opening>,
    reading: Option<Reading>,
    entries: Entries,
}

impl Archive {
    /// The files of a container that logs with the `json-file` driver. None where they cannot be had in this way.
    pub(crate) fn of(engine: &Engine, inspected: &ContainerInspectResponse, details: bool) -> Option<Self> {
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
            entries: Entries::new(details),
        })
    }

    /// Reads some, and gives the entries in it. False at the end.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
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
                None => return Err(Failure::new(Kind::EngineError, "the archive of the log broke off")),
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

    /// Whether the way has proved open.
    pub(crate) fn has_begun(&self) -> bool {
        self.reading.is_some()
    }

    pub(crate) fn parser(&self) -> &JsonFile {
        &self.entries.parser
    }
}

/// The archive of one file; none where there is no such file.
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

/// Takes the one file out of a tar archive that comes in pieces.
#[derive(Debug, Default)]
struct Tar {
    header: Vec<u8>,
    /// How much of the file is still to come; none while its header is.
    left: Option<u64>,
    /// How many bytes of an extended header are still to come, which tells the size of a very large file.
    extended: u64,
    size: Option<u64>,
}

impl Tar {
    /// The part of the piece that is the file's content.
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
        let broken = |_| Failure::new(Kind::EngineError, "the engine's archive of the log is none");
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
#[expect(clippy::unwrap_used, reason = "a test that cannot make its archive has failed")]
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
    fn the_file_comes_out_however_the_archive_is_cut() {
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
