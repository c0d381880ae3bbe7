//! The last lines of a log. The engine counts entries from the end, and a long line has many, so more entries are
//! requested until the lines are complete.

use std::collections::VecDeque;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::failure::Result;

use crate::log::{Line, LineReader, Log, LogTime, Query, Stream};

/// How many more entries than lines are requested at first.
const MARGIN: usize = 64;

/// A copy of a line.
pub(super) struct OwnedLine {
    stamp: LogTime,
    stream: Stream,
    bytes: Vec<u8>,
    begins: bool,
    ends: bool,
    broken: bool,
    details: Vec<u8>,
    /// It is the first line of its stream that the engine sent, which may have begun within it.
    may_be_cut: bool,
}

impl OwnedLine {
    pub(super) fn as_line(&self) -> Line<'_> {
        let OwnedLine { stamp, stream, ref bytes, begins, ends, broken, ref details, .. } = *self;
        Line { stamp, stream, bytes, begins, ends, broken, details }
    }
}

/// The last `count` lines, and the log, which can be followed from there.
pub(super) async fn read(
    engine: &Engine,
    inspected: &ContainerInspectResponse,
    query: &Query,
    count: usize,
) -> Result<(VecDeque<OwnedLine>, Log)> {
    let mut requested = count.saturating_add(MARGIN);
    let mut before = None;
    loop {
        // The engine counts the entries of both streams, even if one is wanted.
        let all = Query { follow: false, only: None, tail: Some(requested as u64), ..query.clone() };
        let mut log = LineReader::new(Log::open(engine, inspected, all)?);
        let mut last = VecDeque::new();
        let mut seen = [false; 2];
        let mut keep = |line: &Line<'_>| {
            let may_be_cut = !std::mem::replace(&mut seen[line.stream as usize], true);
            if query.only.is_some_and(|only| only != line.stream) {
                return;
            }
            let Line { stamp, stream, bytes, begins, ends, broken, details } = *line;
            let (bytes, details) = (bytes.to_vec(), details.to_vec());
            last.push_back(OwnedLine { stamp, stream, bytes, begins, ends, broken, details, may_be_cut });
            if last.len() > count {
                last.pop_front();
            }
        };
        while log.read(&mut keep).await? {}
        // An engine may send fewer entries than requested although there are more.
        let is_all = before == Some(log.entries) || log.entries == 0;
        before = Some(log.entries);
        let is_whole = last.len() == count && !last.iter().any(|line| line.may_be_cut);
        if is_all || is_whole {
            return Ok((last, log.source));
        }
        requested = requested.saturating_mul(8);
    }
}
