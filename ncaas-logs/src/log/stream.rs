//! The engine's log stream: what every engine and every driver that can be read offers, at some 9 µs a line.
//!
//! The engine sends each entry as a frame of its own: a byte for the stream, three of zero, four for the length, then
//! the time, a space, and what was written. For a container with a terminal there are no frames: only times and text.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use memchr::memchr;
use ncaas_core::engine::{Asked, Engine, EngineContext};
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::entry::{Entry, STAMP, Stamp, Stream};
use super::k8s_file::{Fragments, Logged};

/// How many of the engine's chunks are taken at once, where they are there: a chunk is one line.
const AT_ONCE: usize = 1024;

/// The engine sends each line by itself, and to be woken for each costs more than to read it. Where they come in quick
/// succession some are let come together: for so long, and where so many came at once or so soon after one another.
const GATHER: Duration = Duration::from_millis(1);
const MANY: usize = 8;

/// What the engine is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) follow: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) since: Option<Stamp>,
    pub(crate) until: Option<Stamp>,
    /// How many entries from the end; all where it is not said.
    pub(crate) tail: Option<u64>,
}

impl Ask {
    fn to_query(&self) -> String {
        let Ask { follow, stdout, stderr, since, until, tail } = self;
        let mut query = format!("follow={follow}&stdout={stdout}&stderr={stderr}&timestamps=true");
        for (name, bound) in [("since", since), ("until", until)] {
            if let Some(time) = bound.and_then(Stamp::time) {
                let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
                query.push_str(&format!("&{name}={seconds}.{nanos:09}"));
            }
        }
        if let Some(tail) = tail {
            query.push_str(&format!("&tail={tail}"));
        }
        query
    }
}

/// One answer of the engine, as it comes.
pub(crate) struct EngineStream {
    id: String,
    body: Pin<Box<dyn futures_util::Stream<Item = std::result::Result<Bytes, bollard::errors::Error>>>>,
    decoder: Decoder,
    /// Of Podman, whose entries may end anywhere in a line.
    fragments: Option<Fragments>,
    /// When chunks were read last, and whether more are to be expected at once.
    last_read: Instant,
    is_busy: bool,
}

impl EngineStream {
    /// Asks the engine. `terminal`: whether the container has one.
    pub(crate) fn open(engine: &Engine, id: &str, terminal: bool, is_podman: bool, ask: &Ask) -> Self {
        // The client's own call knows whole seconds only, takes a terminal's output for frames where it begins with a
        // small byte, and makes a string of each line.
        let query = ask.to_query();
        let docker = engine.docker().clone().with_request_modifier(move |mut request| {
            let uri = request.uri().to_string().replace("/export", &format!("/logs?{query}"));
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
            request
        });
        let body = Box::pin(docker.export_container(id));
        let decoder = if terminal { Decoder::Terminal(Vec::new()) } else { Decoder::Frames(Vec::new()) };
        let fragments = is_podman.then(Fragments::default);
        EngineStream { id: id.to_owned(), body, decoder, fragments, last_read: Instant::now(), is_busy: false }
    }

    /// Waits for entries and gives those that are there. False at the end.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
        if self.is_busy {
            sleep(GATHER).await;
            self.is_busy = false;
        }
        let mut next = self.body.next().await;
        let is_soon = self.last_read.elapsed() < GATHER;
        let mut count = 0;
        loop {
            let Some(chunk) = next else {
                self.decoder.finish(&mut joining(&mut self.fragments, &mut give));
                self.fragments.iter_mut().for_each(|fragments| fragments.finish(&mut give));
                return Ok(false);
            };
            let chunk = chunk.asking("read the log of", Asked::Container(&self.id))?;
            self.decoder.push(&chunk, &mut joining(&mut self.fragments, &mut give))?;
            count += 1;
            // What has been taken must be given: nothing is taken that this round has no room for.
            let more = if count < AT_ONCE { self.next_at_once().await } else { None };
            match more {
                Some(more) => next = more,
                None => break,
            }
        }
        self.is_busy = is_soon || count > MANY;
        self.last_read = Instant::now();
        Ok(true)
    }
}

impl EngineStream {
    /// The next chunk, if it is there. The connection is a task of its own, which has to have its turn to hand it over.
    async fn next_at_once(&mut self) -> Option<Option<std::result::Result<Bytes, bollard::errors::Error>>> {
        for _ in 0..2 {
            if let Some(next) = self.body.next().now_or_never() {
                return Some(next);
            }
            yield_now().await;
        }
        self.body.next().now_or_never()
    }
}

/// Gives entries as they are, or where that has to be the fragments of a line together.
fn joining(fragments: &mut Option<Fragments>, give: &mut impl FnMut(&Entry<'_>)) -> impl FnMut(&Entry<'_>) {
    move |entry| match fragments {
        Some(fragments) => {
            let (text, is_full) = entry.bytes.strip_suffix(b"\n").map_or((entry.bytes, false), |text| (text, true));
            let Entry { stamp, stream, .. } = *entry;
            fragments.push(&Logged { stamp, stream, text, is_full }, give);
        }
        None => give(entry),
    }
}

/// Entries out of the engine's bytes, which come in chunks of any size.
enum Decoder {
    Frames(Vec<u8>),
    Terminal(Vec<u8>),
}

impl Decoder {
    fn push(&mut self, chunk: &[u8], give: &mut impl FnMut(&Entry<'_>)) -> Result<()> {
        let (kept, take): (&mut Vec<u8>, Take) = match self {
            Decoder::Frames(kept) => (kept, frame),
            Decoder::Terminal(kept) => (kept, terminal_line),
        };
        if kept.is_empty() {
            let used = take_all(chunk, take, give)?;
            kept.extend_from_slice(&chunk[used..]);
        } else {
            kept.extend_from_slice(chunk);
            let used = take_all(kept, take, give)?;
            kept.drain(..used);
        }
        Ok(())
    }

    /// What is left when the stream has ended: a terminal's last line, without a line break.
    fn finish(&mut self, give: &mut impl FnMut(&Entry<'_>)) {
        if let Decoder::Terminal(kept) = self
            && let Some((stamp, text)) = split_stamp(kept)
        {
            give(&Entry { stamp, stream: Stream::Stdout, bytes: text });
            kept.clear();
        }
    }
}

/// Takes one entry off the front of some bytes, with its length; none where it is not whole yet.
type Take = fn(&[u8]) -> Result<Option<(Option<Entry<'_>>, usize)>>;

fn take_all(bytes: &[u8], take: Take, give: &mut impl FnMut(&Entry<'_>)) -> Result<usize> {
    let mut used = 0;
    while let Some((entry, length)) = take(&bytes[used..])? {
        if let Some(entry) = entry {
            give(&entry);
        }
        used += length;
    }
    Ok(used)
}

const HEADER: usize = 8;

fn frame(bytes: &[u8]) -> Result<Option<(Option<Entry<'_>>, usize)>> {
    let Some((&[kind, _, _, _, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let stream = match kind {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        // The engine's own words about its stream, which says them instead of an HTTP error once it has begun.
        3 => return Err(Failure::new(Kind::EngineError, words_of_engine(payload))),
        _ => return Ok(Some((None, HEADER + length))),
    };
    let entry = split_stamp(payload).map(|(stamp, bytes)| Entry { stamp, stream, bytes });
    Ok(Some((entry, HEADER + length)))
}

fn words_of_engine(payload: &[u8]) -> String {
    format!("the engine cannot read the log any further: {}", String::from_utf8_lossy(payload).trim())
}

/// A terminal's entry ends with its line break, or where the engine cuts a long line.
fn terminal_line(bytes: &[u8]) -> Result<Option<(Option<Entry<'_>>, usize)>> {
    const FRAGMENT: usize = 16 << 10;
    let Some((stamp, text)) = split_stamp(bytes) else { return Ok(None) };
    let length = match memchr(b'\n', &text[..text.len().min(FRAGMENT)]) {
        Some(end) => end + 1,
        None if text.len() >= FRAGMENT => FRAGMENT,
        None => return Ok(None),
    };
    let entry = Entry { stamp, stream: Stream::Stdout, bytes: &text[..length] };
    Ok(Some((Some(entry), bytes.len() - text.len() + length)))
}

/// A time and what comes after it. Podman's times have no decimals.
fn split_stamp(bytes: &[u8]) -> Option<(Stamp, &[u8])> {
    let split = |end: usize| Some((Stamp::parse(&bytes[..end])?, &bytes[end + 1..]));
    let usual = if bytes.get(STAMP) == Some(&b' ') { split(STAMP) } else { None };
    usual.or_else(|| split(memchr(b' ', &bytes[..bytes.len().min(STAMP)])?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose frames cannot be read has failed")]
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
        let mut give = |entry: &Entry<'_>| {
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
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = framed(1, b"one\n");
        bytes.extend(framed(2, b"\xff two \x01\x02\n"));
        bytes.extend(framed(1, b""));
        let expected: Vec<(Stream, Vec<u8>)> = vec![
            (Stream::Stdout, b"one\n".to_vec()),
            (Stream::Stderr, b"\xff two \x01\x02\n".to_vec()),
            (Stream::Stdout, Vec::new()),
        ];
        for chunk in [1, 3, 7, 8, 40, 1000] {
            assert_eq!(decoded(Decoder::Frames(Vec::new()), &bytes, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_terminals_long_line_loses_the_times_within_it() {
        let long = "x".repeat(16 << 10);
        let text = format!("{TIME} \u{1}a\r\n{TIME} {long}{TIME} end\r\n{TIME} last");
        for chunk in [1, 50, 5000, 100_000] {
            let entries = decoded(Decoder::Terminal(Vec::new()), text.as_bytes(), chunk);
            let texts: Vec<&[u8]> = entries.iter().map(|entry| entry.1.as_slice()).collect();
            assert_eq!(texts, [b"\x01a\r\n", long.as_bytes(), b"end\r\n", b"last"]);
        }
    }

    #[test]
    fn the_engines_own_error_in_the_stream_is_no_line() {
        let mut decoder = Decoder::Frames(Vec::new());
        let mut frame = vec![3, 0, 0, 0, 0, 0, 0, 4];
        frame.extend_from_slice(b"oops");
        assert_eq!(decoder.push(&frame, &mut |_| {}).unwrap_err().kind, Kind::EngineError);
    }

    #[test]
    fn bounds_are_asked_for_to_the_nanosecond() {
        let since = Stamp::parse(TIME.as_bytes());
        let ask = Ask { follow: true, stdout: true, stderr: false, since, until: None, tail: Some(5) };
        let query = ask.to_query();
        assert!(query.contains("since=1795343095.517032643") && query.ends_with("tail=5"), "{query}");
    }
}
