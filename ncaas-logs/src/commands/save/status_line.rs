//! The line on a terminal that says how many jobs run and have ended. It is shown only while jobs run: other stages of the
//! pipe write to the same terminal.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ncaas_core::outcome::total_line;
use ncaas_core::tool::Tool;

/// Time between two redraws.
const REDRAW: Duration = Duration::from_millis(250);

/// The line; it is hidden where stderr is not a terminal.
#[derive(Debug)]
pub(super) struct StatusLine {
    tool: Tool,
    bar: RefCell<Option<ProgressBar>>,
    running: Cell<u64>,
    ended: Cell<u64>,
    failed: Cell<u64>,
}

impl StatusLine {
    pub(super) fn new(tool: Tool) -> Self {
        StatusLine { tool, bar: RefCell::default(), running: Cell::new(0), ended: Cell::new(0), failed: Cell::new(0) }
    }

    /// Counts a job as running until [`Following::end`].
    pub(super) fn follow(&self) -> Following<'_> {
        self.running.set(self.running.get() + 1);
        self.draw();
        Following { line: self }
    }

    /// Prints a line above this one.
    pub(super) fn note(&self, words: &str) {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(|| self.tool.note(words)),
            None => self.tool.note(words),
        }
    }

    /// Prints a line above this one, and counts the job as ended.
    pub(super) fn note_end(&self, words: &str, has_failed: bool) {
        self.ended.set(self.ended.get() + 1);
        self.failed.set(self.failed.get() + u64::from(has_failed));
        self.note(words);
        self.draw();
    }

    /// Prints how many jobs have ended, if there were several.
    pub(super) fn note_total(&self) {
        if let Some(total) = total_line(self.ended.get(), self.failed.get()) {
            self.tool.note(&total);
        }
    }

    fn draw(&self) {
        let (running, ended, failed) = (self.running.get(), self.ended.get(), self.failed.get());
        let mut bar = self.bar.borrow_mut();
        if running == 0 {
            clear(bar.take());
        } else if !self.tool.is_quiet() {
            let bar = bar.get_or_insert_with(new_bar);
            bar.set_message(format!("{running} running, {ended} ended, {failed} failed"));
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        clear(self.bar.take());
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(REDRAW);
    }
    bar
}

fn clear(bar: Option<ProgressBar>) {
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// A job that is being followed.
pub(super) struct Following<'a> {
    line: &'a StatusLine,
}

impl Following<'_> {
    /// The job is no longer followed. After an interruption, this is not called: the job goes on.
    pub(super) fn end(self) {
        self.line.running.set(self.line.running.get() - 1);
        self.line.draw();
    }
}
