//! Parses the log files of the drivers `json-file` and `k8s-file`, which Podman also calls `json-file`.

use memchr::memchr;

use super::details::Translated;
use super::entry::LogEntry;
use super::json_file;
use super::k8s_file::{self, Fragments};

/// Output that the log driver has lost, as far as its files show it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct MissingOutput {
    /// Bytes that were not valid UTF-8, which the driver has replaced by U+FFFD.
    pub(crate) replaced: u64,
    /// Lines that are not entries: a crash of the machine leaves such lines.
    pub(crate) damaged: u64,
    /// How often the engine has removed rotated files before they were read.
    pub(crate) gaps: u64,
}

impl MissingOutput {
    pub(crate) fn add(&mut self, other: MissingOutput) {
        self.replaced += other.replaced;
        self.damaged += other.damaged;
        self.gaps += other.gaps;
    }
}

/// Parses the bytes of log files, from the beginning of each.
#[derive(Debug, Default)]
pub(super) struct FileParser {
    scratch: Vec<u8>,
    /// The last details in their encoded form, if details are wanted.
    details: Option<Translated>,
    /// Parts of lines in a file that Podman writes.
    fragments: Fragments,
    pub(super) missing: MissingOutput,
}

impl FileParser {
    /// `details`: whether the lines' details are wanted.
    pub(super) fn new(details: bool) -> Self {
        FileParser { details: details.then(Translated::default), ..FileParser::default() }
    }

    /// Gives the entry of every whole line in `bytes`, and returns the length of these lines. The rest is the beginning
    /// of a line that is still being written.
    pub(super) fn parse(&mut self, bytes: &[u8], mut give: impl FnMut(&LogEntry<'_>)) -> usize {
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &bytes[at..]) {
            self.parse_line(&bytes[at..at + length], &mut give);
            at += length + 1;
        }
        at
    }

    /// Gives the rest at the end of the log.
    pub(super) fn finish(&mut self, mut give: impl FnMut(&LogEntry<'_>)) {
        self.fragments.finish(&mut give);
    }

    fn parse_line(&mut self, line: &[u8], give: &mut impl FnMut(&LogEntry<'_>)) {
        let FileParser { scratch, details, fragments, missing } = self;
        if let Some(entry) = json_file::parse(line, details.as_mut(), scratch, &mut missing.replaced) {
            give(&entry);
        } else if !json_file::parse_unordered(line, details.is_some(), give) {
            match k8s_file::parse(line) {
                Some(logged) => fragments.push(&logged, give),
                None => missing.damaged += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::Stream;

    fn read(text: &str) -> (Vec<(Stream, String)>, usize, FileParser) {
        let mut file = FileParser::default();
        let mut entries = Vec::new();
        let consumed = file.parse(text.as_bytes(), |entry| {
            entries.push((entry.stream, String::from_utf8(entry.bytes.to_vec()).unwrap()));
        });
        (entries, consumed, file)
    }

    #[test]
    fn strings_are_decoded_as_a_json_parser_decodes_them() {
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
            assert_eq!((entries, consumed, file.missing.damaged), (vec![(Stream::Stderr, expected)], line.len(), 0));
        }
    }

    #[test]
    fn attributes_and_fields_in_any_order_are_parsed() {
        let line = r#"{"log":"a\n","stream":"stdout","attrs":{"x":"\"time\":\"y"},"time":"2026-11-22T10:24:55.5Z"}
{"time":"2026-11-22T10:24:55.5Z","stream":"stderr","log":"b\n"}
"#;
        let expected = vec![(Stream::Stdout, "a\n".to_owned()), (Stream::Stderr, "b\n".to_owned())];
        assert_eq!(read(line).0, expected);
        let mut details = Vec::new();
        FileParser::new(true).parse(line.as_bytes(), |entry| details.push(entry.details.to_vec()));
        assert_eq!(details, [b"x=%22time%22%3A%22y".to_vec(), Vec::new()]);
    }

    #[test]
    fn damaged_lines_are_counted_and_the_next_line_is_parsed() {
        let good = r#"{"log":"a\n","stream":"stdout","time":"2026-11-22T10:24:55.5Z"}"#;
        let text = format!(
            "\0\0\0\n{{\"log\":\"x\\\n{{\"log\":\"\\u00\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}}\n{good}\n{good}"
        );
        let (entries, consumed, file) = read(&text);
        assert_eq!((entries.len(), file.missing.damaged), (1, 3));
        assert_eq!(&text[consumed..], good);
    }

    #[test]
    fn bytes_that_the_driver_replaced_are_counted_and_those_of_the_program_are_not() {
        let line =
            "{\"log\":\"\\ufffd\\ufffd \u{FFFD}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T10:24:55.5Z\"}\n";
        let (entries, _, file) = read(line);
        assert_eq!(entries[0].1, "\u{FFFD}\u{FFFD} \u{FFFD}\n");
        assert_eq!(file.missing.replaced, 2);
    }
}
