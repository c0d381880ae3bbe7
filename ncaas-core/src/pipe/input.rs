//! The records that a verb works on: one on each line of stdin, or made from arguments.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Read};
use std::rc::Rc;

use tokio::sync::mpsc;

use crate::failure::{Failure, Kind, Result};
use crate::record::{MAX_LINE, Record};
use crate::text;
use crate::tool::Tool;
use crate::turns::Turns;

/// How many bytes of stdin are read ahead of the work: the records of some 16,000 datasets. Groups take turns among
/// them, so that a record of one group does not wait for all earlier records of another group.
const READ_AHEAD: usize = 16 << 20;

type InputLine = Result<Record, BadLine>;
/// The beginning of a line that is not a record, and why it is not one.
type BadLine = (Vec<u8>, Failure);

/// The records that a verb works on.
#[derive(Debug)]
pub struct Input {
    source: RecordSource,
    backlog: Rc<Cell<u64>>,
}

#[derive(Debug)]
enum RecordSource {
    /// Records made from arguments.
    Records(VecDeque<Record>),
    Stdin(Stdin),
}

/// Records from stdin, which another thread reads.
#[derive(Debug)]
struct Stdin {
    lines: mpsc::Receiver<Result<SizedLine>>,
    /// Number of lines so far.
    count: u64,
    /// The lines that were read ahead.
    waiting: Turns<u64, SizedLine>,
    /// Their size in bytes.
    size: usize,
    has_ended: bool,
}

type SizedLine = (InputLine, usize);

impl Input {
    /// The record that arguments name.
    pub fn record(record: Record) -> Self {
        Input::records([record])
    }

    /// The records that arguments name.
    pub fn records(records: impl IntoIterator<Item = Record>) -> Self {
        let records: VecDeque<Record> = records.into_iter().collect();
        let backlog = Rc::new(Cell::new(records.len() as u64));
        Input { source: RecordSource::Records(records), backlog }
    }

    /// The containers, jobs or files that arguments name, or stdin if there are none: see [`Record::for_argument`].
    ///
    /// # Errors
    /// Same as [`Input::stdin`].
    pub fn arguments_or_stdin<S: AsRef<str>>(
        tool: Tool,
        arguments: impl IntoIterator<Item = S>,
        usage: &str,
    ) -> Result<Self> {
        let records: Vec<Record> = arguments.into_iter().map(|name| Record::for_argument(name.as_ref())).collect();
        if records.is_empty() { Input::stdin(tool, usage) } else { Ok(Input::records(records)) }
    }

    /// Stdin, for a verb without a subject in its arguments.
    ///
    /// # Errors
    /// [`Kind::Usage`] if stdin is a terminal: records come from a file or a pipe.
    pub fn stdin(tool: Tool, usage: &str) -> Result<Self> {
        if std::io::stdin().is_terminal() {
            return Err(Failure::new(Kind::Usage, "this verb reads records from stdin, but stdin is a terminal")
                .hint(format!("name what to work on, or use it in a pipe: `{usage}`; see `{} --help`", tool.name())));
        }
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || read_lines(std::io::stdin().lock(), &sender));
        let stdin = Stdin { lines: receiver, count: 0, waiting: Turns::default(), size: 0, has_ended: false };
        Ok(Input { source: RecordSource::Stdin(stdin), backlog: Rc::default() })
    }

    /// How many records have come and wait for their turn; it changes with the input.
    pub fn backlog(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.backlog)
    }

    /// Whether records come from stdin, and not from arguments.
    pub(super) fn is_stdin(&self) -> bool {
        matches!(self.source, RecordSource::Stdin(_))
    }

    /// Whether there is more to read.
    pub(super) fn may_read(&self) -> bool {
        match &self.source {
            RecordSource::Records(_) => false,
            RecordSource::Stdin(stdin) => !stdin.has_ended && stdin.size < READ_AHEAD,
        }
    }

    /// Waits until another record can be taken, or the input has ended.
    ///
    /// # Errors
    /// If stdin cannot be read. The records before that can still be taken.
    pub(super) async fn read(&mut self) -> Result<()> {
        let RecordSource::Stdin(stdin) = &mut self.source else { return Ok(()) };
        let received = stdin.lines.recv().await;
        stdin.has_ended = !matches!(received, Some(Ok(_)));
        let Some((line, size)) = received.transpose()? else { return Ok(()) };
        let group = group_of_line(&line).to_owned();
        stdin.count += 1;
        stdin.size += size;
        stdin.waiting.push(&group, stdin.count, (line, size));
        self.backlog.update(|count| count + 1);
        Ok(())
    }

    /// The next record of the groups that are allowed to have a turn, if it was read, with its group.
    pub(super) fn take_record(&mut self, is_allowed: impl Fn(&str) -> bool) -> Option<(String, InputLine)> {
        let line = match &mut self.source {
            RecordSource::Records(records) => {
                if !is_allowed(records.front()?.group()) {
                    return None;
                }
                Ok(records.pop_front()?)
            }
            RecordSource::Stdin(stdin) => {
                let (line, size) = stdin.waiting.pop(is_allowed)?;
                stdin.size -= size;
                line
            }
        };
        self.backlog.update(|count| count - 1);
        Some((group_of_line(&line).to_owned(), line))
    }

    /// Whether all records were taken.
    pub(super) fn is_over(&self) -> bool {
        match &self.source {
            RecordSource::Records(records) => records.is_empty(),
            RecordSource::Stdin(stdin) => stdin.has_ended && stdin.waiting.is_empty(),
        }
    }
}

fn group_of_line(line: &InputLine) -> &str {
    line.as_ref().map_or("", Record::group)
}

fn read_lines(stdin: impl BufRead, sender: &mpsc::Sender<Result<SizedLine>>) {
    let mut reader = RecordReader::new(stdin);
    loop {
        let line = match reader.next() {
            Ok(Some(line)) => Ok((line, reader.size)),
            Ok(None) => return,
            Err(error) => Err(Failure::new(Kind::Io, format!("cannot read stdin: {error}"))),
        };
        let last = line.is_err();
        if sender.blocking_send(line).is_err() || last {
            return;
        }
    }
}

/// Reads records: one on each line, or one over several lines as programs format it for people.
struct RecordReader<R> {
    input: R,
    /// A line that was read ahead.
    pending: Option<Vec<u8>>,
    /// The size of the last record in bytes.
    size: usize,
}

impl<R: BufRead> RecordReader<R> {
    fn new(input: R) -> Self {
        RecordReader { input, pending: None, size: 0 }
    }

    /// The next record or bad line. None at the end of the input.
    fn next(&mut self) -> std::io::Result<Option<InputLine>> {
        loop {
            let mut line = match self.next_line()? {
                None => return Ok(None),
                Some(Err(bad)) => {
                    self.size = bad.0.len();
                    return Ok(Some(Err(bad)));
                }
                Some(Ok(line)) => line,
            };
            let trimmed = text::without_bom(&line).trim_ascii();
            if trimmed.is_empty() {
                continue;
            }
            // A bracket alone on its line begins a formatted value, which ends at a line with the closing bracket.
            if matches!(trimmed, b"{" | b"[") {
                self.read_rest(&mut line)?;
            }
            self.size = line.len();
            let parsed = Record::parse(&line);
            return Ok(Some(parsed.map_err(|failure| bad_line(line, failure))));
        }
    }

    /// Adds the remaining lines of a formatted value. A line that begins another value is kept for the next call: the
    /// value before it is incomplete.
    fn read_rest(&mut self, value: &mut Vec<u8>) -> std::io::Result<()> {
        while value.len() <= MAX_LINE {
            match self.next_line()? {
                Some(Ok(line)) if line.starts_with(b"{") || line.starts_with(b"[") => {
                    self.pending = Some(line);
                    return Ok(());
                }
                Some(Ok(line)) => {
                    value.extend_from_slice(&line);
                    if line.starts_with(b"}") || line.starts_with(b"]") {
                        return Ok(());
                    }
                }
                Some(Err(_)) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// One line with its line break; an error for one that is too long.
    fn next_line(&mut self) -> std::io::Result<Option<Result<Vec<u8>, BadLine>>> {
        if let Some(line) = self.pending.take() {
            return Ok(Some(Ok(line)));
        }
        // A new buffer for each line: the memory of a long line is not kept for short lines.
        let mut line = Vec::new();
        if self.input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
            skip_line(&mut self.input)?;
            let failure = Failure::new(Kind::BadRecord, format!("the line is longer than {} MiB", MAX_LINE >> 20));
            return Ok(Some(Err(bad_line(line, failure))));
        }
        Ok(Some(Ok(line)))
    }
}

/// A line that is not a record, cut to its beginning.
fn bad_line(mut line: Vec<u8>, failure: Failure) -> BadLine {
    let trimmed = line.trim_ascii();
    // A value over several lines, several values on one line, or the colours of `jq -C`.
    let is_several = trimmed.contains(&b'\n') || trimmed.windows(2).any(|two| two == b"}{" || two == b"\x1b[");
    line.truncate(1024);
    let hint = "write one JSON object on each line: `jq -c .` does that";
    (line, if is_several && failure.hint.is_none() { failure.hint(hint) } else { failure })
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                input.consume(end + 1);
                return Ok(());
            }
            None => {
                let all = buffer.len();
                input.consume(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_an_error_and_the_next_line_is_read() {
        let mut text = vec![b'x'; MAX_LINE + 10];
        text.extend_from_slice(b"\n\n{\"a\":1}\n{\"b\":2}");
        let mut input = RecordReader::new(std::io::Cursor::new(text));
        let (start, failure) = input.next().unwrap().unwrap().unwrap_err();
        assert_eq!((start.len(), failure.kind), (1024, Kind::BadRecord));
        assert!(input.next().unwrap().unwrap().unwrap().as_map().contains_key("a"));
        assert!(input.next().unwrap().unwrap().unwrap().as_map().contains_key("b"));
        assert!(input.next().unwrap().is_none());
    }

    /// The input in a text: a record as its line, a bad line as the beginning of its message.
    fn read(text: &str) -> Vec<String> {
        let mut input = RecordReader::new(text.as_bytes());
        let mut read = Vec::new();
        while let Some(line) = input.next().unwrap() {
            read.push(match line {
                Ok(record) => String::from_utf8(record.to_line()).unwrap().trim_end().to_owned(),
                Err((_, failure)) => format!("{}: {}", failure.message, failure.hint.unwrap_or_default()),
            });
        }
        read
    }

    #[test]
    fn a_record_may_extend_over_several_lines() {
        let first = r#"{"a":{"b":[1,2]},"error":null}"#;
        let pretty = "\u{feff}{\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ]\n  },\n  \"error\": null\n}\n";
        assert_eq!(read(pretty), [first]);
        assert_eq!(read(&format!("{pretty}{{\"c\":1}}\n{}", pretty.replace('\u{feff}', ""))).len(), 3);
        let array = read("[\n  {\n    \"a\": 1\n  }\n]\n{\"b\":1,\"error\":null}\n");
        assert_eq!(array.len(), 2, "one error for the whole array: {array:?}");
        assert!(array[0].contains("is an array") && array[0].contains("jq -c"), "{array:?}");
    }

    #[test]
    fn a_record_that_is_cut_off_takes_no_other_with_it() {
        for cut in ["{\n  \"a\": 1,\n", "{\n", "{\"a\":\n"] {
            let read = read(&format!("{cut}{{\"b\":1,\"error\":null}}\n"));
            assert_eq!((read.len(), read[1].as_str()), (2, r#"{"b":1,"error":null}"#), "{cut:?}: {read:?}");
        }
        let end = read("{\n  \"a\": 1");
        assert!(end.len() == 1 && end[0].contains("ends too early") && end[0].contains("jq -c"), "{end:?}");
    }
}
