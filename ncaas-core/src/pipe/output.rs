//! Writes records to stdout. A separate thread writes and flushes one record at a time, so that the tool handles
//! signals even if the reader is slow or gone.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::summary::summarise;
use crate::exit_status::ExitStatus;
use crate::failure::{Failure, Result, io_kind};
use crate::outcome::is_reported;
use crate::record::Record;
use crate::record::fields::ErrorInfo;
use crate::status_line::{is_pipe, line_start, remove_line_for_reader};
use crate::table::terminal_width;
use crate::text;
use crate::tool::Tool;

/// How many bytes may wait for a slow reader. A longer piece waits alone.
const WAITING: usize = 4 << 20;

/// A value as a line of JSON, with its line break.
pub fn json_line(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are not strings cannot be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes a tool's records.
#[derive(Debug)]
pub struct Output {
    sender: mpsc::Sender<(Vec<u8>, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    done: oneshot::Receiver<()>,
    shared: Arc<OutputState>,
    /// The highest exit status for the records so far.
    status: AtomicU8,
    is_terminal: bool,
    /// Whether stderr is a terminal as well: most likely the same one.
    has_messages_beside: bool,
    /// On a terminal, the tool whose records are written as summaries; none for JSON.
    summarises_for: Option<Tool>,
    /// On a terminal, whether summaries are left out.
    notes_only: bool,
}

#[derive(Debug, Default)]
struct OutputState {
    /// Set when nothing more can be written, with the failure; a closed pipe is not a failure.
    ended: OnceLock<Option<Failure>>,
    notify: Notify,
    watching: Mutex<bool>,
}

impl OutputState {
    fn end(&self, failure: Option<Failure>) {
        // The first reason stands.
        self.ended.get_or_init(|| failure);
        self.notify.notify_waiters();
    }
}

impl Output {
    /// Writes records as JSON.
    pub(super) fn json() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let (sender, mut receiver) = mpsc::channel::<(Vec<u8>, OwnedSemaphorePermit)>(8);
        let (finished, done) = oneshot::channel();
        let shared = Arc::new(OutputState::default());
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut stdout = std::io::stdout().lock();
            while let Some((bytes, _room)) = receiver.blocking_recv() {
                if let Err(error) = stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
                    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
                    writer.end(
                        (!gone).then(|| Failure::new(io_kind(&error), format!("cannot write to stdout: {error}"))),
                    );
                    return;
                }
            }
            // The receiver may be gone.
            finished.send(()).unwrap_or(());
        });
        Output {
            sender,
            room: Arc::new(Semaphore::new(WAITING)),
            done,
            shared,
            status: AtomicU8::new(0),
            is_terminal,
            has_messages_beside: is_terminal && std::io::stderr().is_terminal(),
            summarises_for: None,
            notes_only: false,
        }
    }

    /// Same as [`Output::json`]. On a terminal, it writes a summary of each record of this tool.
    pub(super) fn summaries(tool: Tool, notes_only: bool) -> Self {
        let output = Self::json();
        Output { summarises_for: output.is_terminal.then_some(tool), notes_only, ..output }
    }

    /// Whether a record as JSON and a message about it would appear on the same terminal.
    pub(super) fn shows_json_beside_messages(&self) -> bool {
        self.has_messages_beside && self.summarises_for.is_none()
    }

    /// Writes a record. If stdout is closed, it does nothing: the pipe notices that and ends. The summary of a record
    /// with a failure is left out if the message about the failure is on the same terminal.
    pub async fn emit(&self, record: &Record) {
        let is_told = |error: &ErrorInfo| {
            self.summarises_for.is_some_and(|tool| tool.name() == error.tool || is_reported(record))
        };
        if self.has_messages_beside && record.error().as_ref().is_some_and(is_told) {
            return self.raise(1);
        }
        self.pass_on(record).await;
    }

    /// Writes a record whose failure, if it has one, was not reported by this process.
    pub(super) async fn pass_on(&self, record: &Record) {
        if record.is_failed() {
            self.raise(1);
        }
        self.write_record(record).await;
    }

    async fn write_record(&self, record: &Record) {
        match self.summarises_for {
            // A message on the same terminal has said how the job ended.
            Some(_) if self.notes_only || self.has_messages_beside && is_reported(record) => {}
            Some(_) => {
                let summary = summarise(record, terminal_width());
                self.write(format!("{}{summary}", line_start(&std::io::stdout())).into_bytes()).await;
            }
            None => {
                remove_line_for_reader();
                self.write_lines(record.to_line()).await;
            }
        }
    }

    /// Writes lines of JSON, or a table. On a terminal, control characters are escaped.
    pub async fn write_lines(&self, lines: Vec<u8>) {
        let lines = if self.is_terminal { text::escape_json(&lines).into_owned() } else { lines };
        self.write(lines).await;
    }

    /// Writes complete lines that are not JSON, with their control characters.
    pub async fn write(&self, lines: Vec<u8>) {
        let size = u32::try_from(lines.len().min(WAITING)).unwrap_or(u32::MAX);
        let sent = match Arc::clone(&self.room).acquire_many_owned(size).await {
            Ok(room) => self.sender.send((lines, room)).await.is_ok(),
            Err(_) => false,
        };
        if !sent {
            // The writer has ended: `closed` resolves, and the pipe drops this future.
            std::future::pending().await
        }
    }

    /// Writes a value that is not a job record: a line of JSON, or its summary.
    pub async fn write_json(&self, value: &impl Serialize) {
        if self.summarises_for.is_some() {
            return self.write_record(&Record::new(value)).await;
        }
        self.write_lines(json_line(value)).await;
    }

    /// Resolves when stdout is closed or cannot be written.
    pub async fn closed(&self) {
        self.watch_for_hang_up();
        loop {
            let notified = self.shared.notify.notified();
            if self.shared.ended.get().is_some() {
                return;
            }
            notified.await;
        }
    }

    /// Reports a failure whose record is written too, and raises the exit status. If both would be on the same terminal
    /// as JSON, the record alone has the failure.
    pub fn report_failure(&self, tool: Tool, failure: &Failure) {
        if !self.shows_json_beside_messages() {
            tool.report_failure(failure);
        }
        self.note_failure(failure);
    }

    /// Raises the exit status for a failure.
    pub fn note_failure(&self, failure: &Failure) {
        self.raise(ExitStatus::for_record(failure.kind).0);
    }

    /// Raises the exit status to 1: some work was not done, although no record failed.
    pub fn note_undone(&self) {
        self.raise(1);
    }

    fn raise(&self, status: u8) {
        self.status.fetch_max(status, Ordering::Relaxed);
    }

    /// Waits until everything is written, and returns the exit status.
    pub(super) async fn finish(self) -> Result<u8> {
        drop(self.sender);
        // An error means that the writer ended early; `shared` has the reason.
        self.done.await.unwrap_or(());
        match self.shared.ended.get() {
            Some(Some(failure)) => Err(failure.clone()),
            Some(None) => Ok(0),
            None => Ok(self.status.load(Ordering::Relaxed)),
        }
    }

    /// Notices that the reader is gone without writing a record: a watch may wait for days.
    fn watch_for_hang_up(&self) {
        let Ok(mut watching) = self.shared.watching.lock() else { return };
        if !std::mem::replace(&mut *watching, true) {
            let shared = Arc::clone(&self.shared);
            on_hang_up(move || shared.end(None));
        }
    }
}

/// Resolves when the reader of stdout is gone; never if stdout is not a pipe. A command that writes nothing more would
/// not notice otherwise.
pub async fn stdout_hang_up() {
    let (sender, receiver) = oneshot::channel();
    // The receiver is gone if nobody waits any more.
    on_hang_up(move || sender.send(()).unwrap_or(()));
    if receiver.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether another program may read the output: stdout is a pipe.
pub fn stdout_is_pipe() -> bool {
    is_pipe(rustix::stdio::stdout())
}

/// Calls `act` in another thread when the reader of stdout is gone. Drops it if stdout is not a pipe.
fn on_hang_up(act: impl FnOnce() + Send + 'static) {
    if !stdout_is_pipe() {
        return;
    }
    std::thread::spawn(move || {
        let mut fds = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty())];
        if poll(&mut fds, None).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            act();
        }
    });
}
