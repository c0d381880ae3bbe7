//! What is shown to the person at stderr while an image is built, pushed or pulled: bars on a terminal, a line now and
//! then elsewhere. What the engine prints is passed on as it comes.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often something is said where there is no terminal to draw on.
pub(crate) const NOW_AND_THEN: Duration = Duration::from_secs(10);

/// The person at stderr.
#[derive(Debug)]
pub(crate) struct Terminal {
    bars: Option<MultiProgress>,
}

/// How far something has come that is measured in bytes.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    said: Instant,
    bytes: u64,
    total: u64,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(8);
            MultiProgress::with_draw_target(target)
        });
        Terminal { bars }
    }

    /// Whether there are bars to draw.
    pub(crate) fn is_terminal(&self) -> bool {
        self.bars.is_some()
    }

    /// Passes on what the engine printed: colours only to a terminal.
    pub(crate) fn print(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| write(text)),
            None => write(&plain(text)),
        }
    }

    /// Something of `total` bytes that begins.
    pub(crate) fn progress(&self, what: &str, total: u64) -> Progress {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::new(total).with_message(what.to_owned());
            bars.add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
        });
        Progress { what: what.to_owned(), bar, said: Instant::now(), bytes: 0, total }
    }
}

impl Progress {
    /// So many bytes more.
    pub(crate) fn advance(&mut self, terminal: &Terminal, bytes: u64) {
        self.set(terminal, self.bytes + bytes, self.total);
    }

    /// So many bytes of so many.
    pub(crate) fn set(&mut self, terminal: &Terminal, bytes: u64, total: u64) {
        (self.bytes, self.total) = (bytes, total);
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(bytes);
            }
            None if self.said.elapsed() >= NOW_AND_THEN => {
                self.said = Instant::now();
                let [done, of] = [bytes, total].map(in_words);
                terminal.print(&format!("{}: {done} of {of}\n", self.what));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes in words, in units of 1000.
pub(crate) fn in_words(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Text without the colours and other sequences that are for terminals only.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = match after.strip_prefix('[') {
            // Parameters, then one letter.
            Some(sequence) => sequence.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &sequence[end + 1..]),
            None => after,
        };
    }
    plain.push_str(rest);
    plain
}

fn write(text: &str) {
    // Nobody is left to tell of a stderr that cannot be written.
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap_or(());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(plain("\u{1b}[91mred\u{1b}[0m and \u{1b}[1;32mgreen"), "red and green");
        assert_eq!(plain("cut \u{1b}[9"), "cut ");
    }
}
