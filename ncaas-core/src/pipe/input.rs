//! Where records come from: stdin, a line each, or one record made from arguments.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Read};

use tokio::sync::mpsc;

use crate::failure::{Failure, Kind, Result};
use crate::record::Record;
use crate::tool::Tool;

/// The longest line that is read, in bytes. A longer one becomes a `bad-record`, and is not held in memory.
///
/// Large enough for a record that lists some 300,000 results.
pub const MAX_LINE: usize = 64 << 20;

/// A line that is a record, or how a line that is none began and why it is none.
type Line = Result<Record, (Vec<u8>, Failure)>;

/// The records that a verb works on.
#[derive(Debug)]
pub enum Input {
    /// Made from arguments.
    Records(VecDeque<Record>),
    /// Read from stdin by a thread of its own, one ahead of the work.
    Stdin(mpsc::Receiver<Result<Line>>),
}

impl Input {
    /// The one record that arguments name.
    pub fn record(record: Record) -> Self {
        Input::records([record])
    }

    /// The records that arguments name.
    pub fn records(records: impl IntoIterator<Item = Record>) -> Self {
        Input::Records(records.into_iter().collect())
    }

    /// Stdin, for a verb whose arguments name no subject.
    ///
    /// # Errors
    /// [`Kind::Usage`] where stdin is a terminal: nobody types records.
    pub fn stdin(tool: Tool, usage: &str) -> Result<Self> {
        if std::io::stdin().is_terminal() {
            return Err(Failure::new(Kind::Usage, "reads records from stdin, and stdin is a terminal").hint(format!(
                "name what to work on, or put it into a pipe: `{usage}`; `{} --help` says more",
                tool.name()
            )));
        }
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || read_lines(std::io::stdin().lock(), &sender));
        Ok(Input::Stdin(receiver))
    }

    /// The next record; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Line>> {
        match self {
            Input::Records(records) => Ok(records.pop_front().map(Ok)),
            Input::Stdin(lines) => lines.recv().await.transpose(),
        }
    }
}

fn read_lines(mut stdin: impl BufRead, sender: &mpsc::Sender<Result<Line>>) {
    loop {
        let line = match read_line(&mut stdin) {
            Ok(Some(line)) => Ok(line),
            Ok(None) => return,
            Err(error) => Err(Failure::new(Kind::Io, format!("cannot read stdin: {error}"))),
        };
        let last = line.is_err();
        if sender.blocking_send(line).is_err() || last {
            return;
        }
    }
}

/// Reads one line that is not blank. None at the end of the input.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    loop {
        // A buffer for each line: a long one is not kept for the short ones after it.
        let mut line = Vec::new();
        if input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
            skip_line(input)?;
            let failure = Failure::new(Kind::BadRecord, format!("the line is longer than {} MiB", MAX_LINE >> 20));
            line.truncate(1024);
            return Ok(Some(Err((line, failure))));
        }
        if !line.trim_ascii().is_empty() {
            let parsed = Record::parse(&line);
            return Ok(Some(parsed.map_err(|failure| {
                line.truncate(1024);
                (line, failure)
            })));
        }
    }
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
#[expect(clippy::unwrap_used, reason = "a test that cannot read its own lines has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_an_error_and_the_next_line_is_read() {
        let mut text = vec![b'x'; MAX_LINE + 10];
        text.extend_from_slice(b"\n\n{\"a\":1}\n{\"b\":2}");
        let mut input = std::io::Cursor::new(text);
        let (start, failure) = read_line(&mut input).unwrap().unwrap().unwrap_err();
        assert_eq!((start.len(), failure.kind), (1024, Kind::BadRecord));
        assert!(read_line(&mut input).unwrap().unwrap().unwrap().as_map().contains_key("a"));
        assert!(read_line(&mut input).unwrap().unwrap().unwrap().as_map().contains_key("b"));
        assert!(read_line(&mut input).unwrap().is_none());
    }
}
