//! The line on a terminal that says how many jobs run and have ended.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ncaas_core::tool::Tool;

/// Time between two redraws.
const REDRAW: Duration = Duration::from_millis(250);

/// The line; it is hidden where stderr is not a terminal.
#[derive(Debug)]
pub(super) struct StatusLine {
    tool: Tool,
    bar: ProgressBar,
    running: Cell<u64>,
    ended: Cell<u64>,
    failed: Cell<u64>,
}

impl StatusLine {
    pub(super) fn new(tool: Tool) -> Self {
        let target = if tool.is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        StatusLine { tool, bar, running: Cell::new(0), ended: Cell::new(0), failed: Cell::new(0) }
    }

    /// Counts a job as running until [`Following::end`].
    pub(super) fn follow(&self) -> Following<'_> {
        if self.running.get() == 0 && !self.bar.is_hidden() {
            self.bar.enable_steady_tick(REDRAW);
        }
        self.running.set(self.running.get() + 1);
        self.draw();
        Following { line: self }
    }

    /// Prints a line above this one.
    pub(super) fn note(&self, words: &str) {
        self.bar.suspend(|| self.tool.note(words));
    }

    /// Prints a line above this one, and counts the job as ended.
    pub(super) fn note_end(&self, words: &str, has_failed: bool) {
        self.ended.set(self.ended.get() + 1);
        self.failed.set(self.failed.get() + u64::from(has_failed));
        self.note(words);
        self.draw();
    }

    fn draw(&self) {
        let (running, ended, failed) = (self.running.get(), self.ended.get(), self.failed.get());
        self.bar.set_message(format!("{running} running, {ended} ended, {failed} failed"));
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A job that is being followed.
pub(super) struct Following<'a> {
    line: &'a StatusLine,
}

impl Following<'_> {
    /// The job is no longer followed. After an interruption, this is not called: the job goes on.
    pub(super) fn end(self) {
        let line = self.line;
        line.running.set(line.running.get() - 1);
        line.draw();
        if line.running.get() == 0 {
            line.bar.disable_steady_tick();
        }
    }
}
