//! The line on a terminal that says how many jobs wait, run and have ended.
//!
//! The stages of a pipe write to the same terminal. A lock on the terminal lets one of them draw the line, and every
//! message of a stage first removes it; it is drawn again a moment later.

use std::io::{self, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::fs::{FileType, FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::duration::format_duration;

/// Time between two redraws.
pub(crate) const REDRAW: Duration = Duration::from_millis(250);
/// Work that ends sooner is not worth the line.
const SHORTEST_WORK: Duration = Duration::from_secs(1);
/// Returns to the beginning of the line and empties it.
const CLEAR: &str = "\r\u{1b}[2K";

/// Whether this process has drawn the line.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Numbers of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs that have not been started.
    pub waiting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that have ended, with those that failed.
    pub ended: u64,
    /// Jobs that have ended and failed.
    pub failed: u64,
    /// Jobs of cancelled submissions that have ended.
    pub cancelled: u64,
}

impl JobCounts {
    fn describe(self) -> String {
        let JobCounts { waiting, running, ended, failed, cancelled } = self;
        let waiting = if waiting > 0 { format!("{waiting} waiting, ") } else { String::new() };
        let counts = [(failed, "failed"), (cancelled, "cancelled")].into_iter().filter(|(count, _)| *count > 0);
        let details: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        format!("{waiting}{running} running, {ended} ended{details}")
    }

    /// The line about all jobs at the end; none for a single job.
    pub fn total(self) -> Option<String> {
        let JobCounts { ended, failed, cancelled, .. } = self;
        let outcome = match (failed, cancelled) {
            (0, 0) => "all succeeded".to_owned(),
            (failed, 0) => format!("{} succeeded, {failed} failed", ended - failed),
            (0, cancelled) => format!("{} succeeded, {cancelled} cancelled", ended - cancelled),
            _ => format!("{} succeeded, {failed} failed, {cancelled} cancelled", ended - failed - cancelled),
        };
        (self.ended > 1).then(|| format!("{} jobs ended: {outcome}", self.ended))
    }
}

/// The line. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct CountsLine {
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl CountsLine {
    pub(crate) fn new() -> Self {
        CountsLine { bar: None, begun: Instant::now() }
    }

    /// Draws the line, or removes it if no job waits or runs.
    pub(crate) fn draw(&mut self, counts: JobCounts) {
        if counts.waiting + counts.running == 0 {
            return self.remove();
        }
        if self.begun.elapsed() < SHORTEST_WORK {
            return;
        }
        if self.bar.is_none() && lock_terminal(FlockOperation::NonBlockingLockExclusive) {
            self.bar = Some(new_bar());
            IS_DRAWN.store(true, Ordering::Relaxed);
        }
        if let Some(bar) = &self.bar {
            let seconds = self.begun.elapsed().as_secs();
            let elapsed = if seconds < 60 { format!("{seconds} s") } else { format_duration(seconds as f64) };
            bar.set_message(format!("{} [{elapsed}]", counts.describe()));
            bar.tick();
        }
    }

    fn remove(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            IS_DRAWN.store(false, Ordering::Relaxed);
            lock_terminal(FlockOperation::Unlock);
        }
    }
}

impl Drop for CountsLine {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The terminal, whose cursor returns to the beginning of the line in the same write: what the terminal shows next,
/// such as `^C`, begins in this line, and a message then removes both. `indicatif` leaves the cursor at the end.
#[derive(Debug)]
struct ReturningTerminal(Term);

impl TermLike for ReturningTerminal {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.write_str("\r")?;
        self.0.flush()
    }
}

fn new_bar() -> ProgressBar {
    let terminal = ReturningTerminal(Term::buffered_stderr());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(terminal)));
    // The message is shortened to the terminal's width.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Takes or releases the lock. False if another process has it.
fn lock_terminal(operation: FlockOperation) -> bool {
    // A process has the lock, not the open file, which all stages have from their shell.
    !matches!(fcntl_lock(rustix::stdio::stderr(), operation), Err(Errno::AGAIN | Errno::ACCESS))
}

/// Whether a stream connects this process with another one.
pub(crate) fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// The beginning of a message on a terminal, which removes the line if this process or another stage may have drawn it.
/// Empty elsewhere.
pub(crate) fn line_start(output: &impl IsTerminal) -> &'static str {
    let is_stage = || is_pipe(rustix::stdio::stdin()) || is_pipe(rustix::stdio::stdout());
    if output.is_terminal() && (IS_DRAWN.load(Ordering::Relaxed) || is_stage()) { CLEAR } else { "" }
}

/// Removes the line before a record is written to a pipe: the program behind, such as `jq`, may print it on the
/// terminal.
pub(crate) fn remove_line_for_reader() {
    let may_be_drawn = || IS_DRAWN.load(Ordering::Relaxed) || is_pipe(rustix::stdio::stdin());
    if std::io::stderr().is_terminal() && is_pipe(rustix::stdio::stdout()) && may_be_drawn() {
        write_stderr(CLEAR);
    }
}

/// A failure to write to stderr cannot be reported.
fn write_stderr(text: &str) {
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap_or(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_while_they_run_and_at_the_end() {
        let counts = |waiting, running, ended, failed| JobCounts { waiting, running, ended, failed, cancelled: 0 };
        assert_eq!(counts(10, 2, 1, 0).describe(), "10 waiting, 2 running, 1 ended");
        assert_eq!(counts(0, 2, 11, 1).describe(), "2 running, 11 ended (1 failed)");
        assert_eq!(counts(0, 0, 1, 1).total(), None);
        assert_eq!(counts(0, 0, 2, 0).total().as_deref(), Some("2 jobs ended: all succeeded"));
        assert_eq!(counts(0, 0, 13, 1).total().as_deref(), Some("13 jobs ended: 12 succeeded, 1 failed"));
        let cancelled = |failed| JobCounts { cancelled: 2, ..counts(0, 0, 4, failed) }.total();
        assert_eq!(cancelled(0).as_deref(), Some("4 jobs ended: 2 succeeded, 2 cancelled"));
        assert_eq!(cancelled(1).as_deref(), Some("4 jobs ended: 1 succeeded, 1 failed, 2 cancelled"));
    }
}
