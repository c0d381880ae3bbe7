//! The log's files through the engine's archive requests, where this process may not read them: as somebody who is not
//! root, or beside an engine on another machine. Ten to thirty times as fast as the engine's stream.
//!
//! A helper container that is never started mounts the folder in which the log lies, read-only, and the engine is asked
//! for the log's files there and for no other: what else lies in that folder holds the container's environment.
//!
//! No helper stays behind. The engine holds a container's lock while it sends an archive of it; so its removal is asked
//! for as soon as the archive has begun, and the engine removes it when the archive has ended, or when we have.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig, Mount, MountType};
use bollard::query_parameters::{DownloadFromContainerOptions, RemoveContainerOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use ncaas_core::engine::{Asked, Engine, EngineContext, labels};
use ncaas_core::failure::{Failure, Kind, Result};

use super::entry::Entry;
use super::files::Entries;
use super::json_file::JsonFile;

/// What a helper's label says.
const PURPOSE: &str = "ncaas-logs";
/// Where it mounts the folder.
const MOUNTED: &str = "/ncaas-log";
/// A helper older than this is one that a killed process has left within the moment before its removal was asked for.
const STALE: Duration = Duration::from_secs(60);
/// The most rotated files that are looked for.
const ROTATED: u32 = 1000;

type Body = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, bollard::errors::Error>>>>;

type Opening = Pin<Box<dyn Future<Output = Result<Option<Body>>>>>;

/// The files of one container's log.
pub(crate) struct Archive {
    engine: Engine,
    image: String,
    folder: String,
    /// Names of the files in the folder, oldest first; those that were rotated may not be there.
    names: VecDeque<String>,
    /// Kept, so that it goes on where a read of it is dropped.
    opening: Option<Opening>,
    body: Option<(Body, Tar)>,
    entries: Entries,
}

impl Archive {
    /// The files of a container that logs with the `json-file` driver. None where they cannot be had in this way.
    pub(crate) fn of(engine: &Engine, inspected: &ContainerInspectResponse) -> Option<Self> {
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
            body: None,
            entries: Entries::default(),
        })
    }

    /// Reads some, and gives the entries in it. False at the end.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
        if let Some((body, tar)) = &mut self.body {
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
                Some(Err(error)) => return Err(error).asking("read", Asked::Engine),
                None if tar.is_whole() => {
                    self.body = None;
                    self.entries.next_file();
                }
                None => return Err(Failure::new(Kind::EngineError, "the archive of the log broke off")),
            }
        } else if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            self.body = opened?.map(|body| (body, Tar::default()));
        } else if let Some(name) = self.names.pop_front() {
            self.opening = Some(Box::pin(open(self.engine.clone(), self.image.clone(), self.folder.clone(), name)));
        }
        Ok(self.body.is_some() || self.opening.is_some() || !self.names.is_empty())
    }

    /// Whether the way has proved open.
    pub(crate) fn has_begun(&self) -> bool {
        self.body.is_some()
    }

    pub(crate) fn parser(&self) -> &JsonFile {
        &self.entries.parser
    }
}

/// The archive of one file; none where there is no such file.
async fn open(engine: Engine, image: String, folder: String, name: String) -> Result<Option<Body>> {
    remove_stale(&engine).await;
    let helper = Helper::create(engine.clone(), image, folder).await?;
    let options = DownloadFromContainerOptions { path: format!("{MOUNTED}/{name}") };
    let mut body = Box::pin(engine.docker().download_from_container(&helper.id, Some(options)));
    let first = body.next().await;
    helper.remove();
    match first {
        Some(Ok(first)) => Ok(Some(Box::pin(futures_util::stream::iter([Ok(first)]).chain(body)))),
        Some(Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) | None => Ok(None),
        Some(Err(error)) => Err(error).asking("read", Asked::Engine),
    }
}

/// A helper container, which is removed whatever becomes of the work with it.
struct Helper {
    engine: Engine,
    id: String,
    armed: bool,
}

impl Helper {
    async fn create(engine: Engine, image: String, folder: String) -> Result<Self> {
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(folder),
            target: Some(MOUNTED.to_owned()),
            read_only: Some(true),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(image),
            // Never run; an image need not have a command.
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(HashMap::from([(labels::HELPER.to_owned(), PURPOSE.to_owned())])),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = engine.docker().create_container(None, body).await;
        let id = created.asking("make a helper on", Asked::Engine)?.id;
        Ok(Helper { engine, id, armed: true })
    }

    /// Asks for its removal, which comes when nothing is read from it any more.
    fn remove(mut self) {
        self.armed = false;
        let (engine, id) = (self.engine.clone(), self.id.clone());
        tokio::spawn(async move { remove(&engine, &id).await });
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (engine, id) = (self.engine.clone(), std::mem::take(&mut self.id));
        // The runtime that we are on may be about to end.
        let removing = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                runtime.block_on(remove(&engine, &id));
            }
        });
        // A panic in there has been told of already.
        removing.join().unwrap_or(());
    }
}

async fn remove(engine: &Engine, id: &str) {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    // One that cannot be removed now is found by its label later.
    engine.docker().remove_container(id, Some(options)).await.unwrap_or(());
}

/// Removes helpers that killed processes have left.
async fn remove_stale(engine: &Engine) {
    let Ok(helpers) = engine.labelled(&[&format!("{}={PURPOSE}", labels::HELPER)]).await else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for helper in helpers {
        let created = Duration::from_secs(helper.created.try_into().unwrap_or_default());
        if now.saturating_sub(created) > STALE {
            remove(engine, &helper.id).await;
        }
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
