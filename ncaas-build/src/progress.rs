//! Progress and the output of the engine on stderr. On a terminal: bars, and the current step on the last line.
//! Elsewhere: a line now and then. With `-q`: nothing.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ncaas_core::quantity::format_bytes;
use ncaas_core::text::strip_control;
use ncaas_core::tool::Tool;

/// How often progress is written to a stderr that is not a terminal.
pub(crate) const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The output on stderr.
#[derive(Debug)]
pub(crate) struct Progress {
    is_quiet: bool,
    bars: Option<MultiProgress>,
    step: RefCell<Option<ProgressBar>>,
    /// Output whose line has not ended: bars are drawn on separate lines.
    unfinished: RefCell<String>,
}

/// The progress of one transfer, in bytes.
#[derive(Debug)]
pub(crate) struct Bar<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
    written: Instant,
    total: u64,
}

impl Progress {
    /// Progress of a tool; none if it is quiet.
    pub(crate) fn new(tool: Tool) -> Self {
        let is_shown = std::io::stderr().is_terminal() && !tool.is_quiet();
        let bars = is_shown.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Progress { is_quiet: tool.is_quiet(), bars, step: RefCell::default(), unfinished: RefCell::default() }
    }

    /// Whether stderr is a terminal, on which bars are drawn.
    pub(crate) fn is_terminal(&self) -> bool {
        self.bars.is_some()
    }

    /// Writes output of the engine, line by line, without control sequences.
    pub(crate) fn print(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        let mut unfinished = self.unfinished.borrow_mut();
        unfinished.push_str(text);
        let Some(end) = unfinished.rfind('\n') else { return };
        let lines: String = unfinished.drain(..=end).collect();
        let lines: String = lines.split_inclusive('\n').map(last_state).collect();
        match &self.bars {
            Some(bars) => bars.suspend(|| write(&lines)),
            None => write(&lines),
        }
    }

    /// Shows the step that runs, with its time, on the last line of a terminal.
    pub(crate) fn set_step(&self, name: Option<&str>) {
        if !self.unfinished.borrow().is_empty() {
            self.print("\n");
        }
        let Some(bars) = &self.bars else { return };
        let name = name.map(|name| last_state(name).trim_end().to_owned());
        let mut step = self.step.borrow_mut();
        if step.as_ref().map(ProgressBar::message) == name {
            return;
        }
        if let Some(shown) = step.take() {
            shown.finish_and_clear();
            bars.remove(&shown);
        }
        if let Some(name) = name {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
            let bar = ProgressBar::new_spinner().with_message(name);
            let bar = bars.add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())));
            bar.tick();
            *step = Some(bar);
        }
    }

    /// Redraws the time of the step.
    pub(crate) fn refresh(&self) {
        if let Some(step) = &*self.step.borrow() {
            step.tick();
        }
    }

    /// Begins a transfer of `total` bytes.
    pub(crate) fn bar(&self, name: &str, total: u64) -> Bar<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::new(total).with_message(name.to_owned());
            bars.add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
        });
        Bar { progress: self, name: name.to_owned(), bar, written: Instant::now(), total }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.set_step(None);
    }
}

impl Bar<'_> {
    /// Sets the number of bytes transferred. It may exceed the announced total.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.total = self.total.max(bytes);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.total);
                bar.set_position(bytes);
            }
            None if self.written.elapsed() >= LINE_INTERVAL => {
                self.written = Instant::now();
                let [done, total] = [bytes, self.total].map(format_bytes);
                self.progress.print(&format!("{}: {done} of {total}\n", self.name));
            }
            None => {}
        }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line without control sequences; of a line that was redrawn with carriage returns, its last state.
pub(crate) fn last_state(line: &str) -> String {
    let content = line.trim_end_matches(['\r', '\n']);
    let content = content.rsplit('\r').next().unwrap_or(content);
    format!("{}{}", strip_control(content), if line.ends_with('\n') { "\n" } else { "" })
}

fn write(text: &str) {
    // A failure to write to stderr cannot be reported.
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap_or(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_in_its_last_state_without_colours() {
        assert_eq!(last_state("\u{1b}[91mred\u{1b}[0m and \u{1b}[1;32mgreen\r\n"), "red and green\n");
        assert_eq!(last_state("10 %\r20 %"), "20 %");
    }
}
