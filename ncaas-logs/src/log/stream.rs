//! One request for the engine's log stream. Every engine offers it for every driver that can be read, at about 9 µs a
//! line.
//!
//! The engine sends each entry as a frame: one byte for the stream, three zero bytes, four for the length, then the
//! time, a space, and the text. A container with a terminal has no frames, only times and text.

use std::pin::Pin;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use memchr::memchr;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::time::Instant;

use super::entry::{LogEntry, LogTime, STAMP, Stream};
use super::http_response::HttpResponse;
use super::k8s_file::{Fragments, LoggedText};
use super::query::Query;

/// Waking up for each line costs both sides more than reading it. While lines arrive in quick succession, the reader
/// sleeps this long so that several arrive together: less than the engine takes to fill the socket with 200 lines.
const GATHER: Duration = Duration::from_micros(200);
/// Quick succession: entries less than this apart, or more than `MANY` at once.
const SOON: Duration = Duration::from_millis(1);
const MANY: usize = 8;

/// A container whose log is requested from the engine.
#[derive(Clone)]
pub(super) struct LoggedContainer {
    pub(super) engine: Engine,
    pub(super) id: String,
    /// It has a terminal, which has a single stream.
    pub(super) has_terminal: bool,
    /// Podman writes the log: all lines of one read have the same time.
    pub(super) is_podman: bool,
}

impl LoggedContainer {
    pub(super) fn new(engine: &Engine, inspected: &ContainerInspectResponse) -> Self {
        LoggedContainer {
            engine: engine.clone(),
            id: inspected.id.clone().unwrap_or_default(),
            has_terminal: inspected.config.as_ref().and_then(|config| config.tty).unwrap_or_default(),
            is_podman: inspected.log_path.as_deref().is_some_and(|path| path.ends_with("/ctr.log")),
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<HttpResponse>>>>;

/// The engine's response to one request for a log.
pub(super) struct EngineStream {
    /// Kept here, so that it continues when a read of it is dropped.
    opening: Option<Opening>,
    response: Option<HttpResponse>,
    decoder: Decoder,
    /// Set for Podman, whose entries may end anywhere in a line.
    fragments: Option<Fragments>,
    /// When entries were read last, and whether more are expected at once.
    last_read: Instant,
    is_busy: bool,
}

impl EngineStream {
    /// Sends the request when it is first read.
    pub(super) fn open(container: &LoggedContainer, query: &Query) -> Self {
        let LoggedContainer { engine, id, has_terminal, is_podman } = container.clone();
        let parameters = query.to_query_string();
        EngineStream {
            opening: Some(Box::pin(async move { HttpResponse::request_log(&engine, &id, &parameters).await })),
            response: None,
            // Podman leaves the details out.
            decoder: Decoder::new(has_terminal, query.details && !is_podman),
            fragments: is_podman.then(Fragments::default),
            last_read: Instant::now(),
            is_busy: false,
        }
    }

    /// Waits for entries and gives those that have arrived. Returns false at the end.
    ///
    /// It may be dropped at any time and called again.
    pub(super) async fn read(&mut self, mut give: impl FnMut(&LogEntry<'_>)) -> Result<bool> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            self.response = Some(opened?);
        }
        let EngineStream { response: Some(response), decoder, fragments, .. } = self else { return Ok(false) };
        if std::mem::take(&mut self.is_busy) {
            // The runtime's own clock has a resolution of a millisecond.
            std::thread::sleep(GATHER);
        }
        let mut count = 0;
        let mut count_and_give = |entry: &LogEntry<'_>| {
            count += 1;
            match fragments {
                Some(fragments) => fragments.push(&LoggedText::from_entry(entry), &mut give),
                None => give(entry),
            }
        };
        let more = response.read(|bytes| decoder.push(bytes, &mut count_and_give)).await?;
        if !more {
            decoder.finish(&mut count_and_give);
            fragments.iter_mut().for_each(|fragments| fragments.finish(&mut give));
        }
        self.is_busy = count > MANY || self.last_read.elapsed() < SOON;
        self.last_read = Instant::now();
        Ok(more)
    }
}

/// Decodes the engine's bytes, which arrive in pieces of any size.
struct Decoder {
    terminal: bool,
    /// Whether details precede the text.
    details: bool,
    kept: Vec<u8>,
}

impl Decoder {
    fn new(terminal: bool, details: bool) -> Self {
        Decoder { terminal, details, kept: Vec::new() }
    }

    fn push(&mut self, piece: &[u8], give: &mut impl FnMut(&LogEntry<'_>)) -> Result<()> {
        if self.kept.is_empty() {
            let used = self.decode(piece, give)?;
            self.kept.extend_from_slice(&piece[used..]);
        } else {
            self.kept.extend_from_slice(piece);
            let used = self.decode(&self.kept, give)?;
            self.kept.drain(..used);
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8], give: &mut impl FnMut(&LogEntry<'_>)) -> Result<usize> {
        let decode_entry: DecodeEntry = if self.terminal { decode_terminal_line } else { decode_frame };
        let mut used = 0;
        while let Some((entry, length)) = decode_entry(&bytes[used..], self.details)? {
            if let Some(entry) = entry {
                give(&entry);
            }
            used += length;
        }
        Ok(used)
    }

    /// Gives the rest when the stream has ended: a terminal's last line without a line break.
    fn finish(&mut self, give: &mut impl FnMut(&LogEntry<'_>)) {
        if self.terminal
            && let Some(EntryHead { stamp, details, text, .. }) = EntryHead::parse(&self.kept, self.details)
        {
            give(&LogEntry { stamp, stream: Stream::Stdout, bytes: text, details });
            self.kept.clear();
        }
    }
}

/// Decodes the first entry of some bytes and returns it with its length; none if it is not complete. The flag says
/// whether it has details.
type DecodeEntry = fn(&[u8], bool) -> Result<Option<(Option<LogEntry<'_>>, usize)>>;

const HEADER: usize = 8;

fn decode_frame(bytes: &[u8], with_details: bool) -> Result<Option<(Option<LogEntry<'_>>, usize)>> {
    let Some((&[kind, _, _, _, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let stream = match kind {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        // An error of the engine after the response has begun.
        3 => return Err(stream_error(payload)),
        _ => return Ok(Some((None, HEADER + length))),
    };
    let entry = EntryHead::parse(payload, with_details).map(|EntryHead { stamp, details, text, .. }| LogEntry {
        stamp,
        stream,
        bytes: text,
        details,
    });
    Ok(Some((entry, HEADER + length)))
}

fn stream_error(payload: &[u8]) -> Failure {
    let words = String::from_utf8_lossy(payload);
    Failure::new(Kind::EngineError, format!("the engine cannot read the log any further: {}", words.trim()))
}

/// A terminal's entry ends with its line break, or where the engine cuts a long line.
fn decode_terminal_line(bytes: &[u8], with_details: bool) -> Result<Option<(Option<LogEntry<'_>>, usize)>> {
    const FRAGMENT: usize = 16 << 10;
    let Some(EntryHead { stamp, details, text, length: head }) = EntryHead::parse(bytes, with_details) else {
        return Ok(None);
    };
    let length = match memchr(b'\n', &text[..text.len().min(FRAGMENT)]) {
        Some(end) => end + 1,
        None if text.len() >= FRAGMENT => FRAGMENT,
        None => return Ok(None),
    };
    let entry = LogEntry { stamp, stream: Stream::Stdout, bytes: &text[..length], details };
    Ok(Some((Some(entry), head + length)))
}

/// An entry's head, `<time> [<details> ]`, and its text.
struct EntryHead<'a> {
    stamp: LogTime,
    details: &'a [u8],
    text: &'a [u8],
    length: usize,
}

impl<'a> EntryHead<'a> {
    fn parse(bytes: &'a [u8], with_details: bool) -> Option<Self> {
        let (stamp, rest) = split_stamp(bytes)?;
        // Spaces in details are escaped. Without details there is still the space after them.
        let details = if with_details { Some(&rest[..memchr(b' ', rest)?]) } else { None };
        let text = &rest[details.map_or(0, |details| details.len() + 1)..];
        Some(EntryHead { stamp, details: details.unwrap_or_default(), text, length: bytes.len() - text.len() })
    }
}

/// Splits off the time. Podman's times have no decimals.
fn split_stamp(bytes: &[u8]) -> Option<(LogTime, &[u8])> {
    let split = |end: usize| Some((LogTime::parse(&bytes[..end])?, &bytes[end + 1..]));
    let usual = if bytes.get(STAMP) == Some(&b' ') { split(STAMP) } else { None };
    usual.or_else(|| split(memchr(b' ', &bytes[..bytes.len().min(STAMP)])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-22T10:24:55.517032643Z";

    fn framed(kind: u8, text: &[u8]) -> Vec<u8> {
        let mut payload = format!("{TIME} ").into_bytes();
        payload.extend_from_slice(text);
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&payload);
        frame
    }

    fn decoded(mut decoder: Decoder, bytes: &[u8], chunk: usize) -> Vec<(Stream, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut give = |entry: &LogEntry<'_>| {
            assert_eq!(entry.stamp.as_str(), TIME);
            entries.push((entry.stream, entry.bytes.to_vec()));
        };
        for chunk in bytes.chunks(chunk) {
            decoder.push(chunk, &mut give).unwrap();
        }
        decoder.finish(&mut give);
        entries
    }

    #[test]
    fn frames_are_decoded_from_pieces_of_any_size() {
        let mut bytes = framed(1, b"one\n");
        bytes.extend(framed(2, b"\xff two \x01\x02\n"));
        bytes.extend(framed(1, b""));
        let expected: Vec<(Stream, Vec<u8>)> = vec![
            (Stream::Stdout, b"one\n".to_vec()),
            (Stream::Stderr, b"\xff two \x01\x02\n".to_vec()),
            (Stream::Stdout, Vec::new()),
        ];
        for chunk in [1, 3, 7, 8, 40, 1000] {
            assert_eq!(decoded(Decoder::new(false, false), &bytes, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn times_within_a_long_line_of_a_terminal_are_removed() {
        let long = "x".repeat(16 << 10);
        let text = format!("{TIME} \u{1}a\r\n{TIME} {long}{TIME} end\r\n{TIME} last");
        for chunk in [1, 50, 5000, 100_000] {
            let entries = decoded(Decoder::new(true, false), text.as_bytes(), chunk);
            let texts: Vec<&[u8]> = entries.iter().map(|entry| entry.1.as_slice()).collect();
            assert_eq!(texts, [b"\x01a\r\n", long.as_bytes(), b"end\r\n", b"last"]);
        }
    }

    #[test]
    fn details_are_decoded_between_time_and_text() {
        let mut bytes = framed(1, b"a=1,b=x+y one two\n");
        bytes.extend(framed(2, b" \n"));
        let mut entries = Vec::new();
        let mut give = |entry: &LogEntry<'_>| entries.push((entry.details.to_vec(), entry.bytes.to_vec()));
        Decoder::new(false, true).push(&bytes, &mut give).unwrap();
        let terminal = format!("{TIME} a=1 one two\r\n{TIME}  x");
        let mut decoder = Decoder::new(true, true);
        decoder.push(terminal.as_bytes(), &mut give).unwrap();
        decoder.finish(&mut give);
        let expected = [("a=1,b=x+y", "one two\n"), ("", "\n"), ("a=1", "one two\r\n"), ("", "x")];
        assert_eq!(entries, expected.map(|(details, text)| (details.into(), text.into())));
    }

    #[test]
    fn an_error_of_the_engine_within_the_stream_is_a_failure() {
        let mut decoder = Decoder::new(false, false);
        let mut frame = vec![3, 0, 0, 0, 0, 0, 0, 4];
        frame.extend_from_slice(b"oops");
        assert_eq!(decoder.push(&frame, &mut |_| {}).unwrap_err().kind, Kind::EngineError);
    }
}
