//! Parses lines of the `json-file` log driver:
//! `{"log":"...\n","stream":"stdout","attrs":{...},"time":"2026-11-22T10:24:55.517032643Z"}`.
//!
//! The engine writes the fields in this order. Lines in this order are parsed without a JSON parser, in a third of the
//! time.

use std::collections::BTreeMap;

use memchr::{memchr, memchr2, memmem};
use serde::Deserialize;

use super::details::{Translated, encode};
use super::entry::{LogEntry, LogTime, Stream};

const OPENING: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b",\"stream\":\"stdout\",\"time\":\"";
const STDERR: &[u8] = b",\"stream\":\"stderr\",\"time\":\"";

/// Parses a line as the engine writes it. `details` translates its attributes; bytes that the driver replaced are added
/// to `replaced`. Returns none for any other line.
pub(super) fn parse<'a>(
    line: &'a [u8],
    details: Option<&'a mut Translated>,
    scratch: &'a mut Vec<u8>,
    replaced: &mut u64,
) -> Option<LogEntry<'a>> {
    let Fields { log, stream, stamp, attributes } = fields(line)?;
    let details = details.map_or(b"".as_slice(), |details| details.encoded(attributes));
    Some(LogEntry { stamp, stream, bytes: unescape(log, scratch, replaced)?, details })
}

/// Parses a line with its fields in any order, and gives its entry. Returns false if it is not such a line.
pub(super) fn parse_unordered(line: &[u8], with_details: bool, give: &mut impl FnMut(&LogEntry<'_>)) -> bool {
    let Ok(Unordered { log, stream, time, attrs }) = serde_json::from_slice::<Unordered>(line) else { return false };
    let Some(stamp) = LogTime::parse(time.as_bytes()) else { return false };
    // In the oldest files, a terminal's output names no stream.
    let stream = Stream::from_name(stream.as_bytes()).unwrap_or(Stream::Stdout);
    let details = if with_details { encode(&attrs) } else { String::new() };
    give(&LogEntry { stamp, stream, bytes: log.as_bytes(), details: details.as_bytes() });
    true
}

/// Decodes a JSON string, into `text` if it has escapes. Returns none if it is not valid.
fn unescape<'a>(escaped: &'a [u8], text: &'a mut Vec<u8>, replaced: &mut u64) -> Option<&'a [u8]> {
    let Some(first) = memchr(b'\\', escaped) else { return Some(escaped) };
    text.clear();
    let mut at = first;
    let mut plain_from = 0;
    loop {
        text.extend_from_slice(&escaped[plain_from..at]);
        let escape = *escaped.get(at + 1)?;
        plain_from = at + 2;
        match escape {
            b'n' => text.push(b'\n'),
            b'"' | b'\\' | b'/' => text.push(escape),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'u' => {
                let mut code = hex(escaped.get(at + 2..at + 6)?)?;
                plain_from = at + 6;
                // The engine escapes what it replaced, and writes a U+FFFD of the program's own as it is.
                *replaced += u64::from(code == 0xFFFD);
                if (0xD800..0xDC00).contains(&code)
                    && escaped.get(at + 6..at + 8) == Some(b"\\u")
                    && let Some(low) = escaped.get(at + 8..at + 12).and_then(hex)
                    && (0xDC00..0xE000).contains(&low)
                {
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    plain_from = at + 12;
                }
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
        match memchr(b'\\', &escaped[plain_from..]) {
            Some(next) => at = plain_from + next,
            None => break,
        }
    }
    text.extend_from_slice(&escaped[plain_from..]);
    Some(text)
}

/// The fields of a line as the engine writes it.
struct Fields<'a> {
    /// Still escaped.
    log: &'a [u8],
    stream: Stream,
    stamp: LogTime,
    /// A JSON object, or empty.
    attributes: &'a [u8],
}

fn fields(line: &[u8]) -> Option<Fields<'_>> {
    let body = line.strip_prefix(OPENING)?;
    let mut end = 0;
    loop {
        end += memchr2(b'"', b'\\', &body[end..])?;
        if body[end] == b'"' {
            break;
        }
        end += 2;
        if end > body.len() {
            return None;
        }
    }
    let rest = &body[end + 1..];
    let mut attributes: &[u8] = b"";
    let (stream, rest) = if let Some(rest) = rest.strip_prefix(STDOUT) {
        (Stream::Stdout, rest)
    } else if let Some(rest) = rest.strip_prefix(STDERR) {
        (Stream::Stderr, rest)
    } else {
        // With labels or variables of the container.
        let name = rest.strip_prefix(b",\"stream\":\"")?;
        let stream = Stream::from_name(name.get(..6)?)?;
        let time = memmem::rfind(name, b",\"time\":\"")?;
        attributes = name.get(6..time)?.strip_prefix(b"\",\"attrs\":")?;
        (stream, &name[time + 9..])
    };
    let time = rest.strip_suffix(b"\"}")?;
    Some(Fields { log: &body[..end], stream, stamp: LogTime::parse(time)?, attributes })
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))
}

/// A line with its fields in any order.
#[derive(Deserialize)]
struct Unordered {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}
