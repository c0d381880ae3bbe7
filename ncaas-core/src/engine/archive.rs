//! Files in and out of containers, as tar streams.
//!
//! The engine's side is asynchronous and the `tar` crate is not, so the tar side works on another thread, and a bounded
//! channel connects them: memory stays constant however large the files are. The container need not run, nor ever have
//! been started. Paths in its mounts can be reached too.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use async_recursion::async_recursion as boxed;
use bollard::errors::Error;
use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tar::{Archive, Builder};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::{JoinHandle, spawn_blocking, yield_now};

use crate::blocking::join_blocking;
use crate::engine::connection::Engine;
use crate::engine::errors::{EngineContext, Subject, failure};
use crate::engine::reference;
use crate::failure::{Failure, IoContext, Kind, Result};

/// Size of the pieces in which an archive is sent, in bytes.
const PIECE: usize = 256 * 1024;
/// How many pieces may wait between the engine's side and the tar side.
const PIECES: usize = 4;
/// Size of a block of a tar archive, in bytes: the content of a file is padded to a multiple of it.
const BLOCK: usize = 512;
/// A tar archive ends in two blocks of zeros.
const TRAILER: usize = 2 * BLOCK;

impl Engine {
    /// Reads `path` of a container, a file or a folder with all that is in it, as a tar archive. `read` works on
    /// another thread and may stop before the end. The names in the archive begin with the last part of `path`;
    /// a symlink at its end is not followed.
    ///
    /// An incomplete archive is an error of `read`, never an end. The engine ends its response normally if it fails
    /// half-way, so the end of the archive itself is checked.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::FileNotFound`] if the container has no such path; what `read` returns.
    pub async fn download<T, F>(&self, id: &str, path: &str, read: F) -> Result<T>
    where
        F: FnOnce(&mut Archive<ArchiveReader>) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (id, path) = (reference::container(id)?, reference::path(path)?);
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let mut pieces = self.archive(id, options);
        let first = match pieces.next().await {
            Some(Err(error)) => return Err(self.no_such_path(id, path, &error, "read").await),
            first => first,
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let reader = spawn_blocking(move || read(&mut Archive::new(ArchiveReader::new(receiver))));
        let mut next = first;
        let mut broken = None;
        loop {
            let piece = match next {
                Some(Ok(bytes)) => Piece::Bytes(bytes),
                Some(Err(error)) => {
                    broken = Some(error);
                    Piece::Broken
                }
                None => Piece::End,
            };
            let last = !matches!(piece, Piece::Bytes(_));
            // The reader needs no more.
            if sender.send(piece).await.is_err() || last {
                break;
            }
            next = pieces.next().await;
        }
        // The engine keeps the container busy until its answer is read or the connection closes: close it now.
        drop(pieces);
        yield_now().await;
        match (join_blocking(reader).await, broken) {
            (Err(_), Some(error)) => Err(error).engine_context("read", Subject::Container(id)),
            (read, _) => read,
        }
    }

    fn archive(&self, id: &str, options: DownloadFromContainerOptions) -> BoxStream<'_, Result<Bytes, Error>> {
        self.docker().download_from_container(id, Some(options)).boxed()
    }

    /// Writes files into the folder `into` of a container, from the tar archive that `write` creates on another thread.
    /// The folder must exist. Owners and modes are those of the archive.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::FileNotFound`] if the container has no such folder; what `write`
    /// returns: the container may then have some of the files.
    pub async fn upload<F>(&self, id: &str, into: &str, write: F) -> Result<()>
    where
        F: FnOnce(&mut Builder<ArchiveWriter>) -> Result<()> + Send + 'static,
    {
        let (id, into) = (reference::container(id)?, reference::path(into)?);
        let (pieces, writer) = spawn_archive(write);
        match tokio::join!(self.send_archive(id, into, pieces), join_blocking(writer)) {
            (Ok(()), written) => written,
            // The engine refused the archive and stopped reading it.
            (Err(error), Ok(())) => Err(self.no_such_path(id, into, &error, "write").await),
            (Err(error), Err(failure)) if failure.kind == Kind::EngineError => {
                Err(self.no_such_path(id, into, &error, "write").await)
            }
            (Err(_), Err(failure)) => Err(failure),
        }
    }

    #[boxed]
    async fn send_archive(&self, id: &str, into: &str, mut pieces: Receiver<Result<Bytes>>) -> Result<(), Error> {
        // A failure ends the request with an error, so that the engine does not mistake a part for the whole.
        let body = bollard::body_try_stream(stream::poll_fn(move |context| {
            pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map_err(io::Error::other)))
        }));
        let options = UploadToContainerOptions { path: into.to_owned(), ..Default::default() };
        self.docker().upload_to_container(id, Some(options), body).await
    }

    /// The failure for an error about a path: the engine answers 404 for a missing container and for a missing path.
    #[boxed]
    pub(super) async fn no_such_path(&self, id: &str, path: &str, error: &Error, verb: &str) -> Failure {
        if !matches!(error, Error::DockerResponseServerError { status_code: 404, .. }) {
            return failure(error, &format!("{verb} `{path}` in"), Subject::Container(id));
        }
        match self.inspect(id).await {
            Ok(_) => Failure::new(Kind::FileNotFound, format!("`{path}` does not exist in container `{id}`")),
            Err(failure) => failure,
        }
    }
}

/// Runs `write` on another thread. The channel carries the tar archive that it makes, in pieces as they are written,
/// and its failure as the last piece. The handle returns what `write` returned.
pub fn spawn_archive<F>(write: F) -> (Receiver<Result<Bytes>>, JoinHandle<Result<()>>)
where
    F: FnOnce(&mut Builder<ArchiveWriter>) -> Result<()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    let writer = spawn_blocking(move || {
        let mut archive = Builder::new(ArchiveWriter::new(sender.clone()));
        let written = write(&mut archive).and_then(|()| {
            let finished = archive.into_inner().and_then(|mut rest| rest.flush());
            finished.map_err(|error| archive_interrupted(&error))
        });
        if let Err(failure) = &written {
            // The receiver may be gone.
            let _ = sender.blocking_send(Err(failure.clone()));
        }
        written
    });
    (receiver, writer)
}

/// The failure of an incomplete archive, for closures of [`Engine::download`] and [`Engine::upload`].
pub fn archive_interrupted(error: &io::Error) -> Failure {
    Failure::new(Kind::EngineError, format!("the transfer from or to the container was interrupted: {error}"))
}

enum Piece {
    Bytes(Bytes),
    /// The connection broke.
    Broken,
    /// The answer is complete. Without it, a dropped download would look like a finished one.
    End,
}

/// The tar side's end of a download.
pub struct ArchiveReader {
    pieces: Receiver<Piece>,
    current: Bytes,
    /// How many zeros the stream ends in so far.
    zeros: usize,
    ended: bool,
}

impl ArchiveReader {
    fn new(pieces: Receiver<Piece>) -> Self {
        ArchiveReader { pieces, current: Bytes::new(), zeros: 0, ended: false }
    }

    fn count_zeros(&mut self, piece: &[u8]) {
        let zeros = piece.iter().rev().take(TRAILER).take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == piece.len() { self.zeros + zeros } else { zeros };
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    self.count_zeros(&bytes);
                    self.current = bytes;
                }
                Some(Piece::End) if self.zeros >= TRAILER => self.ended = true,
                Some(Piece::End) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the engine sent only a part of it"));
                }
                Some(Piece::Broken) => return Err(io::ErrorKind::ConnectionReset.into()),
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The tar side's end of an upload.
pub struct ArchiveWriter {
    pieces: mpsc::Sender<Result<Bytes>>,
    current: BytesMut,
}

impl ArchiveWriter {
    fn new(pieces: mpsc::Sender<Result<Bytes>>) -> Self {
        ArchiveWriter { pieces, current: BytesMut::with_capacity(PIECE) }
    }

    /// Writes the content of a file, after its header, and the padding of its last block. The content is read directly
    /// into the pieces that are sent, not through the small buffer of the `tar` crate.
    ///
    /// # Errors
    /// The file cannot be read or has become shorter than `size`, or nobody receives the archive.
    pub fn write_content(&mut self, file: &File, size: u64, path: &Path) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let filled = self.current.len();
            let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE - filled);
            self.current.resize(filled + room, 0);
            let read = (&*file).read(&mut self.current[filled..]).doing("read", path)?;
            self.current.truncate(filled + read);
            if read == 0 {
                return Err(Failure::new(Kind::Io, format!("`{}` became shorter while it was read", path.display())));
            }
            left -= read as u64;
            if self.current.len() == PIECE {
                self.flush().map_err(|error| archive_interrupted(&error))?;
            }
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write_all(&[0; BLOCK][..padding as usize]).map_err(|error| archive_interrupted(&error))
    }
}

impl Write for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.current.len());
        self.current.extend_from_slice(&bytes[..length]);
        if self.current.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.current, BytesMut::with_capacity(PIECE)).freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pieces: Vec<Piece>) -> io::Result<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(pieces.len());
        for piece in pieces {
            sender.try_send(piece).ok().unwrap();
        }
        drop(sender);
        let mut all = Vec::new();
        ArchiveReader::new(receiver).read_to_end(&mut all).map(|_| all)
    }

    fn bytes(bytes: impl Into<Vec<u8>>) -> Piece {
        Piece::Bytes(Bytes::from(bytes.into()))
    }

    #[test]
    fn an_archive_with_its_end_is_complete_in_pieces_of_any_size() {
        let whole = reading(vec![bytes("abc"), bytes(vec![0; 500]), bytes(vec![0; 524]), Piece::End]).unwrap();
        assert_eq!(whole.len(), 3 + 1024);
    }

    #[test]
    fn an_archive_that_breaks_off_is_an_error_and_not_an_end() {
        for end in [vec![Piece::End], vec![Piece::Broken], vec![]] {
            let mut pieces = vec![bytes(vec![0; 2000]), bytes("x"), bytes(vec![0; 1023])];
            pieces.extend(end);
            assert!(reading(pieces).is_err());
        }
    }

    #[test]
    fn content_is_sent_in_pieces() {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut writer = ArchiveWriter::new(sender);
        writer.write_all(&vec![1; PIECE + 1]).unwrap();
        writer.flush().unwrap();
        drop(writer);
        let mut sizes = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            sizes.push(piece.unwrap().len());
        }
        assert_eq!(sizes, [PIECE, 1]);
    }
}
