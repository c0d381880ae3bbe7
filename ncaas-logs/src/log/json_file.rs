//! The files of the engine's `json-file` driver: one JSON object a line,
//! `{"log":"...\n","stream":"stdout","attrs":{...},"time":"2026-11-22T10:24:55.517032643Z"}`.
//!
//! The engine writes the fields in this order, and that is read without a JSON parser: a third of the time. Whatever
//! else stands there is left to one.

use std::collections::BTreeMap;

use memchr::{memchr, memchr2, memmem};
use serde::Deserialize;

use super::details::{Translated, encode};
use super::entry::{Entry, Stamp, Stream};
use super::k8s_file::{self, Fragments};

const OPENING: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b",\"stream\":\"stdout\",\"time\":\"";
const STDERR: &[u8] = b",\"stream\":\"stderr\",\"time\":\"";

/// Reads entries out of a file's bytes.
#[derive(Debug, Default)]
pub(crate) struct JsonFile {
    scratch: Vec<u8>,
    /// Where they are wanted.
    details: Option<Translated>,
    /// Of a file that Podman writes, in a format of its own.
    fragments: Fragments,
    /// Lines that are no entries: what a crash of the machine left.
    pub(crate) damaged: u64,
    /// Bytes that were no UTF-8 and that the driver has replaced.
    pub(crate) replaced: u64,
}

impl JsonFile {
    /// A reader of a file from its beginning; `details`: whether the lines' details are wanted.
    pub(crate) fn new(details: bool) -> Self {
        JsonFile { details: details.then(Translated::default), ..JsonFile::default() }
    }

    /// Gives the entry of every whole line in `bytes`, and returns how many bytes they are: the rest is the beginning
    /// of a line that is still being written.
    pub(crate) fn read(&mut self, bytes: &[u8], mut give: impl FnMut(&Entry<'_>)) -> usize {
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &bytes[at..]) {
            self.line(&bytes[at..at + length], &mut give);
            at += length + 1;
        }
        at
    }

    /// Gives what is left at the log's end.
    pub(crate) fn finish(&mut self, mut give: impl FnMut(&Entry<'_>)) {
        self.fragments.finish(&mut give);
    }

    fn line(&mut self, line: &[u8], give: &mut impl FnMut(&Entry<'_>)) {
        let JsonFile { scratch, details, fragments, damaged, replaced } = self;
        if let Some(Fields { log, stream, stamp, attributes }) = fields(line) {
            let details = details.as_mut().map_or(b"".as_slice(), |details| details.encoded(attributes));
            if let Some(bytes) = unescape(log, scratch, replaced) {
                return give(&Entry { stamp, stream, bytes, details });
            }
        } else if let Ok(other) = serde_json::from_slice::<Other>(line)
            && let Some(stamp) = Stamp::parse(other.time.as_bytes())
        {
            // A terminal's output has no stream of its own in the oldest files.
            let stream = Stream::named(other.stream.as_bytes()).unwrap_or(Stream::Stdout);
            let details = if details.is_some() { encode(&other.attrs) } else { String::new() };
            return give(&Entry { stamp, stream, bytes: other.log.as_bytes(), details: details.as_bytes() });
        } else if let Some(logged) = k8s_file::line(line) {
            return fragments.push(&logged, give);
        }
        *damaged += 1;
    }
}

/// The text that a JSON string stands for, if need be in `text`. None where it is none.
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

/// What stands on a line as the engine writes it.
struct Fields<'a> {
    /// Still escaped.
    log: &'a [u8],
    stream: Stream,
    stamp: Stamp,
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
        let stream = Stream::named(name.get(..6)?)?;
        let time = memmem::rfind(name, b",\"time\":\"")?;
        attributes = name.get(6..time)?.strip_prefix(b"\",\"attrs\":")?;
        (stream, &name[time + 9..])
    };
    let time = rest.strip_suffix(b"\"}")?;
    Some(Fields { log: &body[..end], stream, stamp: Stamp::parse(time)?, attributes })
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))
}

/// A line in another order than the engine's.
#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose lines cannot be read has failed")]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(Stream, String)>, usize, JsonFile) {
        let mut file = JsonFile::default();
        let mut entries = Vec::new();
        let consumed = file.read(text.as_bytes(), |entry| {
            entries.push((entry.stream, String::from_utf8(entry.bytes.to_vec()).unwrap()));
        });
        (entries, consumed, file)
    }

    #[test]
    fn a_string_comes_out_as_any_json_parser_reads_it() {
        let hostile = [
            r"plain\n",
            r#"quo\"te \\ \\\" \/ \u003ctag\u003e \u0026 \u2028\n"#,
            r"\u001b[31mred\t\r\u0000\n",
            "é 日本 😀 \\ud83d\\ude00\\n",
            "",
            r"\\",
        ];
        for escaped in hostile {
            let line = format!("{{\"log\":\"{escaped}\",\"stream\":\"stderr\",\"time\":\"2026-11-22T10:24:55.5Z\"}}\n");
            let expected: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
            let (entries, consumed, file) = read(&line);
            assert_eq!((entries, consumed, file.damaged), (vec![(Stream::Stderr, expected)], line.len(), 0));
        }
    }

    #[test]
    fn attributes_and_another_order_are_read_too() {
        let line = r#"{"log":"a\n","stream":"stdout","attrs":{"x":"\"time\":\"y"},"time":"2026-11-22T10:24:55.5Z"}
{"time":"2026-11-22T10:24:55.5Z","stream":"stderr","log":"b\n"}
"#;
        let expected = vec![(Stream::Stdout, "a\n".to_owned()), (Stream::Stderr, "b\n".to_owned())];
        assert_eq!(read(line).0, expected);
        let mut details = Vec::new();
        JsonFile::new(true).read(line.as_bytes(), |entry| details.push(entry.details.to_vec()));
        assert_eq!(details, [b"x=%22time%22%3A%22y".to_vec(), Vec::new()]);
    }

    #[test]
    fn what_a_crash_left_is_counted_and_the_next_line_read() {
        let good = r#"{"log":"a\n","stream":"stdout","time":"2026-11-22T10:24:55.5Z"}"#;
        let text = format!(
            "\0\0\0\n{{\"log\":\"x\\\n{{\"log\":\"\\u00\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}}\n{good}\n{good}"
        );
        let (entries, consumed, file) = read(&text);
        assert_eq!((entries.len(), file.damaged), (1, 3));
        assert_eq!(&text[consumed..], good);
    }

    #[test]
    fn replaced_bytes_are_told_apart_from_the_programs_own_replacement_characters() {
        let line =
            "{\"log\":\"\\ufffd\\ufffd \u{FFFD}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}\n";
        let (entries, _, file) = read(line);
        assert_eq!(entries[0].1, "\u{FFFD}\u{FFFD} \u{FFFD}\n");
        assert_eq!(file.replaced, 2);
    }
}
