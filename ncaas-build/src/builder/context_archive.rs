//! The context as a tar archive that is written while it is sent: what of it is in memory does not grow with it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use tokio::sync::mpsc;

use super::context::{Entry, walk};
use super::dockerignore::{Descend, Ignore};

/// How much is handed over at once, in bytes.
const CHUNK: usize = 256 << 10;
/// What a file's content is filled up to a multiple of, in bytes.
const BLOCK: usize = 512;
/// How many chunks may wait for the engine.
const AHEAD: usize = 8;

/// What goes into the archive.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The context's folder.
    pub(crate) root: PathBuf,
    /// What is left out of it.
    pub(crate) ignore: Ignore,
    /// A Dockerfile that is not in the folder, and the name it gets in the archive.
    pub(crate) dockerfile: Option<(PathBuf, String)>,
}

/// Writes the archive on a thread of its own. The receiver's end is the archive's, or why it could not be written.
pub(crate) fn stream(contents: Contents) -> mpsc::Receiver<Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let pieces = Pieces { sender: &sender, buffer: BytesMut::with_capacity(CHUNK) };
        let written = write(&contents, pieces);
        if let Err(failure) = written {
            // With nobody there to receive it, the build has ended for a reason of its own.
            sender.blocking_send(Err(failure)).unwrap_or(());
        }
    });
    receiver
}

fn write(contents: &Contents, pieces: Pieces<'_>) -> Result<()> {
    let mut archive = tar::Builder::new(pieces);
    if let Some((host, path)) = &contents.dockerfile {
        let metadata = std::fs::metadata(host).doing("read", host)?;
        append(&mut archive, &Entry { host: host.clone(), path: path.clone(), metadata, left_out: false })?;
    }
    walk(&contents.root, &contents.ignore, Descend::IfNamed, |entry| append(&mut archive, &entry))?;
    let mut pieces = archive.into_inner().map_err(|error| unsent(&error))?;
    pieces.flush().map_err(|error| unsent(&error))
}

fn append(archive: &mut tar::Builder<Pieces<'_>>, entry: &Entry) -> Result<()> {
    if entry.left_out {
        return Ok(());
    }
    let kind = entry.metadata.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&entry.metadata);
    header.set_mode(entry.metadata.mode() & 0o7777);
    // What is in the context belongs to root in the image, as with the docker CLI.
    header.set_uid(0);
    header.set_gid(0);
    if kind.is_symlink() {
        let target = std::fs::read_link(&entry.host).doing("read", &entry.host)?;
        header.set_size(0);
        return archive.append_link(&mut header, &entry.path, target).map_err(|error| unsent(&error));
    }
    if kind.is_dir() {
        header.set_size(0);
        return archive
            .append_data(&mut header, format!("{}/", entry.path), io::empty())
            .map_err(|error| unsent(&error));
    }
    if !kind.is_file() {
        // Sockets, pipes and devices are no part of an image.
        return Ok(());
    }
    let file = File::open(&entry.host).doing("read", &entry.host)?;
    let size = entry.metadata.len();
    header.set_size(size);
    archive.append_data(&mut header, &entry.path, io::empty()).map_err(|error| unsent(&error))?;
    archive.get_mut().take_in(&file, size, &entry.host)
}

/// The reason does not matter: whoever received the archive has gone, and says why.
fn unsent(error: &io::Error) -> Failure {
    Failure::new(Kind::Io, format!("cannot send the build context: {error}"))
}

/// Hands over what is written, a chunk at a time.
struct Pieces<'a> {
    sender: &'a mpsc::Sender<Result<Bytes>>,
    buffer: BytesMut,
}

impl Pieces<'_> {
    /// Takes in a file's content after its header, and what fills its last block. It is read straight into what is
    /// handed over, not through the archive's own small buffer.
    fn take_in(&mut self, file: &File, size: u64, path: &Path) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let filled = self.buffer.len();
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK - filled);
            self.buffer.resize(filled + room, 0);
            let read = (&*file).read(&mut self.buffer[filled..]).doing("read", path)?;
            self.buffer.truncate(filled + read);
            if read == 0 {
                // The archive would be wrong from there on.
                return Err(Failure::new(Kind::Io, format!("`{}` became shorter while it was read", path.display())));
            }
            left -= read as u64;
            if self.buffer.len() == CHUNK {
                self.flush().map_err(|error| unsent(&error))?;
            }
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write_all(&[0; BLOCK][..padding as usize]).map_err(|error| unsent(&error))
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        if full.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
