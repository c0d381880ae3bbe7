//! The engine's log stream: what every engine and every driver that can be read offers, at some 9 µs a line.
//!
//! The engine sends each entry as a frame of its own: a byte for the stream, three of zero, four for the length, then
//! the time, a space, and what was written. For a container with a terminal there are no frames: only times and text.

use std::pin::Pin;
use std::time::Duration;

use memchr::memchr;
use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::time::Instant;

use super::answer::Answer;
use super::entry::{Entry, STAMP, Stamp, Stream};
use super::k8s_file::{Fragments, Logged};

/// To be woken for each line costs both sides more than to read it. Where lines come in quick succession some are let
/// come together: for less time than it takes the engine to fill the socket, some 200 lines, for then it would wait.
const GATHER: Duration = Duration::from_micros(200);
/// Quick succession: so soon after one another, or so many at once.
const SOON: Duration = Duration::from_millis(1);
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
    /// Each line with the attributes that the log's options give it.
    pub(crate) details: bool,
}

impl Ask {
    fn to_query(&self) -> String {
        let Ask { follow, stdout, stderr, since, until, tail, details } = self;
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
        if *details {
            query.push_str("&details=true");
        }
        query
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Answer>>>>;

/// The engine's stream of one log.
pub(crate) struct EngineStream {
    /// Kept, so that it goes on where a read of it is dropped.
    opening: Option<Opening>,
    answer: Option<Answer>,
    decoder: Decoder,
    /// Of Podman, whose entries may end anywhere in a line.
    fragments: Option<Fragments>,
    /// When entries were read last, and whether more are to be expected at once.
    last_read: Instant,
    is_busy: bool,
}

impl EngineStream {
    /// Asks the engine, when it is read from. `terminal`: whether the container has one.
    pub(crate) fn open(engine: &Engine, id: &str, terminal: bool, is_podman: bool, ask: &Ask) -> Self {
        let (engine, id, query) = (engine.clone(), id.to_owned(), ask.to_query());
        EngineStream {
            opening: Some(Box::pin(async move { Answer::to(&engine, &id, &query).await })),
            answer: None,
            // Podman leaves the details out.
            decoder: Decoder::new(terminal, ask.details && !is_podman),
            fragments: is_podman.then(Fragments::default),
            last_read: Instant::now(),
            is_busy: false,
        }
    }

    /// Waits for entries and gives those that are there. False at the end.
    ///
    /// May be dropped at any time and called again.
    pub(crate) async fn read(&mut self, mut give: impl FnMut(&Entry<'_>)) -> Result<bool> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            self.answer = Some(opened?);
        }
        let EngineStream { answer: Some(answer), decoder, fragments, .. } = self else { return Ok(false) };
        if std::mem::take(&mut self.is_busy) {
            // The runtime's own clock knows whole milliseconds.
            std::thread::sleep(GATHER);
        }
        let mut count = 0;
        let mut count_and_give = |entry: &Entry<'_>| {
            count += 1;
            match fragments {
                Some(fragments) => fragments.push(&Logged::of(entry), &mut give),
                None => give(entry),
            }
        };
        let more = answer.read(|bytes| decoder.push(bytes, &mut count_and_give)).await?;
        if !more {
            decoder.finish(&mut count_and_give);
            fragments.iter_mut().for_each(|fragments| fragments.finish(&mut give));
        }
        self.is_busy = count > MANY || self.last_read.elapsed() < SOON;
        self.last_read = Instant::now();
        Ok(more)
    }
}

/// Entries out of the engine's bytes, which come in pieces of any size.
struct Decoder {
    terminal: bool,
    /// Whether attributes stand before what was written.
    details: bool,
    kept: Vec<u8>,
}

impl Decoder {
    fn new(terminal: bool, details: bool) -> Self {
        Decoder { terminal, details, kept: Vec::new() }
    }

    fn push(&mut self, piece: &[u8], give: &mut impl FnMut(&Entry<'_>)) -> Result<()> {
        if self.kept.is_empty() {
            let used = self.take_all(piece, give)?;
            self.kept.extend_from_slice(&piece[used..]);
        } else {
            self.kept.extend_from_slice(piece);
            let used = self.take_all(&self.kept, give)?;
            self.kept.drain(..used);
        }
        Ok(())
    }

    fn take_all(&self, bytes: &[u8], give: &mut impl FnMut(&Entry<'_>)) -> Result<usize> {
        let take: Take = if self.terminal { terminal_line } else { frame };
        let mut used = 0;
        while let Some((entry, length)) = take(&bytes[used..], self.details)? {
            if let Some(entry) = entry {
                give(&entry);
            }
            used += length;
        }
        Ok(used)
    }

    /// What is left when the stream has ended: a terminal's last line, without a line break.
    fn finish(&mut self, give: &mut impl FnMut(&Entry<'_>)) {
        if self.terminal
            && let Some(Head { stamp, details, text, .. }) = Head::of(&self.kept, self.details)
        {
            give(&Entry { stamp, stream: Stream::Stdout, bytes: text, details });
            self.kept.clear();
        }
    }
}

/// Takes one entry off the front of some bytes, with its length; none where it is not whole yet. The flag says whether
/// there are details in it.
type Take = fn(&[u8], bool) -> Result<Option<(Option<Entry<'_>>, usize)>>;

const HEADER: usize = 8;

fn frame(bytes: &[u8], with_details: bool) -> Result<Option<(Option<Entry<'_>>, usize)>> {
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
    let entry = Head::of(payload, with_details).map(|Head { stamp, details, text, .. }| Entry {
        stamp,
        stream,
        bytes: text,
        details,
    });
    Ok(Some((entry, HEADER + length)))
}

fn words_of_engine(payload: &[u8]) -> String {
    format!("the engine cannot read the log any further: {}", String::from_utf8_lossy(payload).trim())
}

/// A terminal's entry ends with its line break, or where the engine cuts a long line.
fn terminal_line(bytes: &[u8], with_details: bool) -> Result<Option<(Option<Entry<'_>>, usize)>> {
    const FRAGMENT: usize = 16 << 10;
    let Some(Head { stamp, details, text, length: head }) = Head::of(bytes, with_details) else { return Ok(None) };
    let length = match memchr(b'\n', &text[..text.len().min(FRAGMENT)]) {
        Some(end) => end + 1,
        None if text.len() >= FRAGMENT => FRAGMENT,
        None => return Ok(None),
    };
    let entry = Entry { stamp, stream: Stream::Stdout, bytes: &text[..length], details };
    Ok(Some((Some(entry), head + length)))
}

/// What stands before an entry's text, `<time> [<details> ]`, and the text.
struct Head<'a> {
    stamp: Stamp,
    details: &'a [u8],
    text: &'a [u8],
    /// Of what stands before the text.
    length: usize,
}

impl<'a> Head<'a> {
    fn of(bytes: &'a [u8], with_details: bool) -> Option<Self> {
        let (stamp, rest) = split_stamp(bytes)?;
        // Spaces in them are escaped; where there are none there is still the space.
        let details = if with_details { Some(&rest[..memchr(b' ', rest)?]) } else { None };
        let text = &rest[details.map_or(0, |details| details.len() + 1)..];
        Some(Head { stamp, details: details.unwrap_or_default(), text, length: bytes.len() - text.len() })
    }
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
            assert_eq!(decoded(Decoder::new(false, false), &bytes, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_terminals_long_line_loses_the_times_within_it() {
        let long = "x".repeat(16 << 10);
        let text = format!("{TIME} \u{1}a\r\n{TIME} {long}{TIME} end\r\n{TIME} last");
        for chunk in [1, 50, 5000, 100_000] {
            let entries = decoded(Decoder::new(true, false), text.as_bytes(), chunk);
            let texts: Vec<&[u8]> = entries.iter().map(|entry| entry.1.as_slice()).collect();
            assert_eq!(texts, [b"\x01a\r\n", long.as_bytes(), b"end\r\n", b"last"]);
        }
    }

    #[test]
    fn details_stand_between_the_time_and_the_text() {
        let mut bytes = framed(1, b"a=1,b=x+y one two\n");
        bytes.extend(framed(2, b" \n"));
        let mut entries = Vec::new();
        let mut give = |entry: &Entry<'_>| entries.push((entry.details.to_vec(), entry.bytes.to_vec()));
        Decoder::new(false, true).push(&bytes, &mut give).unwrap();
        let terminal = format!("{TIME} a=1 one two\r\n{TIME}  x");
        let mut decoder = Decoder::new(true, true);
        decoder.push(terminal.as_bytes(), &mut give).unwrap();
        decoder.finish(&mut give);
        let expected = [("a=1,b=x+y", "one two\n"), ("", "\n"), ("a=1", "one two\r\n"), ("", "x")];
        assert_eq!(entries, expected.map(|(details, text)| (details.into(), text.into())));
    }

    #[test]
    fn the_engines_own_error_in_the_stream_is_no_line() {
        let mut decoder = Decoder::new(false, false);
        let mut frame = vec![3, 0, 0, 0, 0, 0, 0, 4];
        frame.extend_from_slice(b"oops");
        assert_eq!(decoder.push(&frame, &mut |_| {}).unwrap_err().kind, Kind::EngineError);
    }

    #[test]
    fn bounds_are_asked_for_to_the_nanosecond() {
        let since = Stamp::parse(TIME.as_bytes());
        let ask = Ask { follow: true, stdout: true, stderr: false, since, until: None, tail: Some(5), details: false };
        let query = ask.to_query();
        assert!(query.contains("since=1795343095.517032643") && query.ends_with("tail=5"), "{query}");
    }
}
