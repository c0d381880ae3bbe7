//! Writes lines as records: `{"time":"2026-11-22T10:24:55.517032643Z","stream":"stdout","seq":1,"line":"..."}`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ncaas_core::failure::Result;
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::text::one_line;
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use super::text::TextFormat;
use crate::args::LinesArgs;
use crate::log::{EntrySource, Line, LineReader, Translated};
use crate::log_source::OutputOwner;

/// One line of output.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LineRecord {
    #[serde(flatten)]
    owner: OutputOwner,
    /// When the engine read its beginning: RFC 3339 in UTC, always with nine decimals.
    time: String,
    /// `stdout` or `stderr`.
    stream: String,
    /// Its number among the requested lines, from 1. Lines that `--grep` leaves out are counted.
    seq: u64,
    /// The text without the line break; carriage returns and other control characters are kept.
    line: Option<String>,
    /// The bytes in base64, if they are not valid UTF-8.
    bytes: Option<String>,
    /// True for a piece of a line longer than 2 MiB. The line continues in the next record of its stream.
    partial: Option<bool>,
    /// With `--details`: the attributes that the log driver's options give the line, by name.
    details: Option<BTreeMap<String, String>>,
}

/// The form of the output.
enum Format {
    Records,
    Text(TextFormat),
    /// The bytes of the output alone.
    Raw,
}

/// Writes lines in the requested form.
pub(super) struct Writer<'a> {
    grep: Option<&'a Regex>,
    format: Format,
    details: Option<Translated>,
    /// The beginning of each line, which names its owner.
    prefix: Vec<u8>,
    seq: u64,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer for the lines of one container. `several`: whether lines of other containers come between them.
    pub(super) fn new(record: &Record, args: &'a LinesArgs, several: bool) -> Self {
        let prefix = if args.raw {
            String::new()
        } else if !args.text {
            let owner = serde_json::to_string(&OutputOwner::from_record(record, several)).unwrap_or_default();
            let fields = if owner == "{}" { String::new() } else { format!("{},", &owner[1..owner.len() - 1]) };
            format!("{{{fields}\"time\":\"")
        } else if several {
            format!("{} | ", one_line(&record.container().unwrap_or_default().name))
        } else {
            String::new()
        };
        Writer {
            grep: args.grep.as_ref(),
            format: if args.raw {
                Format::Raw
            } else if args.text {
                Format::Text(TextFormat::new(args.details))
            } else {
                Format::Records
            },
            details: args.details.then(Translated::default),
            prefix: prefix.into_bytes(),
            seq: 0,
            out: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, line: &Line<'_>) {
        self.seq += u64::from(line.begins);
        if self.grep.is_some_and(|grep| !grep.is_match(line.bytes)) {
            return;
        }
        match &mut self.format {
            Format::Text(text) => text.push(line, &self.prefix, &mut self.out),
            Format::Records => self.push_record(line),
            Format::Raw => {
                self.out.extend_from_slice(line.bytes);
                self.out.extend(line.broken.then_some(b'\n'));
            }
        }
    }

    fn push_record(&mut self, line: &Line<'_>) {
        let out = &mut self.out;
        out.reserve(line.bytes.len() + 128);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(line.stamp.as_bytes());
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(line.stream.name().as_bytes());
        out.extend_from_slice(b"\",\"seq\":");
        push_json(&self.seq, out);
        match std::str::from_utf8(line.bytes) {
            Ok(text) => {
                out.extend_from_slice(b",\"line\":");
                push_json(text, out);
            }
            Err(_) => {
                out.extend_from_slice(b",\"bytes\":\"");
                out.extend_from_slice(STANDARD.encode(line.bytes).as_bytes());
                out.push(b'"');
            }
        }
        if !line.ends {
            out.extend_from_slice(b",\"partial\":true");
        }
        if let Some(details) = &mut self.details {
            out.extend_from_slice(b",\"details\":");
            out.extend_from_slice(details.json(line.details));
        }
        out.extend_from_slice(b"}\n");
    }

    /// Prints a log to its end, without its first `left_out` lines.
    pub(super) async fn print(&mut self, log: impl EntrySource, left_out: usize, output: &Output) -> Result<()> {
        let mut lines = LineReader::new(log);
        let (mut seen, mut more) = (0, true);
        while more {
            let push = |line: &Line<'_>| {
                seen += usize::from(line.begins);
                if seen > left_out {
                    self.push(line);
                }
            };
            more = lines.read(push).await?;
            self.send(output).await;
        }
        Ok(())
    }

    /// Sends the lines that were written since the last call.
    pub(super) async fn send(&mut self, output: &Output) {
        if !self.out.is_empty() {
            let next = Vec::with_capacity(self.out.len().min(1 << 19));
            let lines = std::mem::replace(&mut self.out, next);
            match self.format {
                Format::Records => output.write_lines(lines).await,
                Format::Text(_) | Format::Raw => output.write(lines).await,
            }
        }
    }
}

/// Writes a number or a text as JSON.
fn push_json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    serde_json::to_writer(out, value).unwrap_or(());
}
