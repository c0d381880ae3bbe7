//! The engine's HTTP response to a request for a log, read over its own connection as its bytes arrive.
//!
//! The engine sends each line as an HTTP chunk. A general HTTP client wakes up for and hands over one chunk at a time,
//! which costs more than the rest of the work on a line. This reader takes all that the socket holds at once and decodes
//! the chunks in place.

use std::io;

use ncaas_core::engine::{Engine, RawConnection, Subject, error_message, failure};
use ncaas_core::failure::{Failure, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much is read at once: more than the socket holds of short lines.
const BUFFER: usize = 128 << 10;
/// The maximum length of an error message of the engine that is read.
const LONGEST_MESSAGE: usize = 16 << 10;
/// The maximum number of header fields of a response.
const FIELDS: usize = 64;

/// A response that is being read.
pub(super) struct HttpResponse {
    id: String,
    connection: Box<dyn RawConnection>,
    buffer: Vec<u8>,
    filled: usize,
    framing: Framing,
}

/// How the end of the body is recognised.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    UntilClosed,
    Counted(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkBreak,
    Trailer,
    Ended,
}

impl HttpResponse {
    /// Requests the log of a container with these query parameters.
    pub(super) async fn request_log(engine: &Engine, id: &str, query: &str) -> Result<Self> {
        let mut response = HttpResponse {
            id: id.to_owned(),
            connection: engine.open_raw_connection().await?,
            buffer: vec![0; BUFFER],
            filled: 0,
            framing: Framing::UntilClosed,
        };
        let request = format!("GET /containers/{id}/logs?{query} HTTP/1.1\r\nHost: docker\r\n\r\n");
        let sent =
            async { response.connection.write_all(request.as_bytes()).await.and(response.connection.flush().await) };
        sent.await.map_err(|error| broken(id, error))?;
        let status = loop {
            if let Some(status) = response.parse_head().map_err(|error| broken(id, error))? {
                break status;
            }
            response.fill().await?;
        };
        if status == 200 { Ok(response) } else { Err(response.read_failure(status).await) }
    }

    /// Waits for a part of the body and gives it. Returns false at its end. It may be dropped at any time and called again.
    pub(super) async fn read(&mut self, mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        loop {
            let used = self.framing.decode(&self.buffer[..self.filled], &self.id, &mut give)?;
            self.drop_front(used);
            if self.framing == Framing::Ended {
                return Ok(false);
            }
            if used > 0 {
                return Ok(true);
            }
            if !self.fill().await? {
                return Ok(false);
            }
        }
    }

    /// Reads what has arrived. Returns false if the connection was closed and this ends the body.
    async fn fill(&mut self) -> Result<bool> {
        let read =
            self.connection.read(&mut self.buffer[self.filled..]).await.map_err(|error| broken(&self.id, error))?;
        self.filled += read;
        match (read, self.framing) {
            (0, Framing::UntilClosed) => Ok(false),
            (0, _) => Err(broken(&self.id, io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(true),
        }
    }

    fn drop_front(&mut self, used: usize) {
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
    }

    /// The status, once the whole head has arrived.
    fn parse_head(&mut self) -> io::Result<Option<u16>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&self.buffer[..self.filled]);
        let httparse::Status::Complete(length) = parsed.map_err(io::Error::other)? else {
            let is_endless = self.filled == self.buffer.len();
            return if is_endless { Err(io::Error::other("not an HTTP response")) } else { Ok(None) };
        };
        let value = |name: &str| {
            let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(field.value).ok().map(str::to_ascii_lowercase)
        };
        self.framing = match (value("transfer-encoding"), value("content-length").and_then(|text| text.parse().ok())) {
            (Some(coding), _) if coding.contains("chunked") => Framing::ChunkSize,
            (_, Some(0)) => Framing::Ended,
            (_, Some(length)) => Framing::Counted(length),
            _ => Framing::UntilClosed,
        };
        let status = head.code;
        self.drop_front(length);
        Ok(status)
    }

    /// The failure that the engine reports, with its message.
    async fn read_failure(mut self, status_code: u16) -> Failure {
        let mut body = Vec::new();
        let mut more = true;
        while more && body.len() < LONGEST_MESSAGE {
            let read = self.read(|bytes| {
                body.extend_from_slice(bytes);
                Ok(())
            });
            more = read.await.unwrap_or(false);
        }
        let message = error_message(&body);
        failed(&self.id, &bollard::errors::Error::DockerResponseServerError { status_code, message })
    }
}

impl Framing {
    /// Gives the parts of `bytes` that belong to the body, and returns how many bytes were decoded.
    fn decode(&mut self, bytes: &[u8], id: &str, give: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let bad = || broken(id, io::Error::other("invalid HTTP response"));
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match *self {
                Framing::UntilClosed => {
                    give(rest)?;
                    at = bytes.len();
                }
                Framing::Counted(left) | Framing::ChunkData(left) => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    give(&rest[..taken])?;
                    at += taken;
                    let left = left - taken as u64;
                    *self = match self {
                        Framing::Counted(_) if left == 0 => Framing::Ended,
                        Framing::Counted(_) => Framing::Counted(left),
                        _ if left == 0 => Framing::ChunkBreak,
                        _ => Framing::ChunkData(left),
                    };
                }
                Framing::ChunkSize => match httparse::parse_chunk_size(rest).map_err(|_| bad())? {
                    httparse::Status::Complete((length, size)) => {
                        at += length;
                        *self = if size == 0 { Framing::Trailer } else { Framing::ChunkData(size) };
                    }
                    httparse::Status::Partial => break,
                },
                Framing::ChunkBreak => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        *self = Framing::ChunkSize;
                    }
                    [b'\r'] => break,
                    _ => return Err(bad()),
                },
                Framing::Trailer => {
                    let Some(length) = memchr::memchr(b'\n', rest) else { break };
                    at += length + 1;
                    if matches!(&rest[..length], b"\r" | b"") {
                        *self = Framing::Ended;
                    }
                }
                Framing::Ended => break,
            }
        }
        Ok(at)
    }
}

fn broken(id: &str, err: io::Error) -> Failure {
    failed(id, &bollard::errors::Error::IOError { err })
}

fn failed(id: &str, error: &bollard::errors::Error) -> Failure {
    failure(error, "read the log of", Subject::Container(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body that arrives in pieces of this size.
    fn decoded(mut framing: Framing, body: &[u8], piece: usize) -> Result<(Vec<u8>, Framing)> {
        let (mut kept, mut given) = (Vec::new(), Vec::new());
        for piece in body.chunks(piece) {
            kept.extend_from_slice(piece);
            let used = framing.decode(&kept, "x", &mut |bytes| {
                given.extend_from_slice(bytes);
                Ok(())
            })?;
            kept.drain(..used);
        }
        Ok((given, framing))
    }

    #[test]
    fn a_chunked_body_is_decoded_from_pieces_of_any_size() {
        let body = b"5\r\nhello\r\n1;name=value\r\n \r\nA\r\n\r\n0\r\n\r\nwor\r\n2\r\nld\r\n0\r\nSome: trailer\r\n\r\n";
        for piece in 1..body.len() {
            let (given, framing) = decoded(Framing::ChunkSize, body, piece).unwrap();
            assert_eq!(given, b"hello \r\n0\r\n\r\nworld", "in pieces of {piece}");
            assert_eq!(framing, Framing::Ended);
        }
    }

    #[test]
    fn a_body_that_breaks_off_has_not_ended() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for end in 0..body.len() {
            assert_ne!(decoded(Framing::ChunkSize, &body[..end], 3).unwrap().1, Framing::Ended, "after {end}");
        }
    }

    #[test]
    fn an_invalid_chunk_is_an_error() {
        assert!(decoded(Framing::ChunkSize, b"hello\r\n", 100).is_err());
        assert!(decoded(Framing::ChunkSize, b"2\r\nhello\r\n", 100).is_err());
    }

    #[test]
    fn a_body_with_a_length_ends_there() {
        assert_eq!(decoded(Framing::Counted(3), b"abcdef", 2).unwrap(), (b"abc".to_vec(), Framing::Ended));
    }
}
