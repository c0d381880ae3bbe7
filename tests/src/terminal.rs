//! A line of bash that runs on a terminal, and what the terminal shows.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{tools, wait_until};

/// How long a test waits for something to appear.
const LIMIT: Duration = Duration::from_secs(60);

/// A running line of bash with a terminal.
pub struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    folder: TempDir,
    width: usize,
}

impl Terminal {
    /// Starts a line of bash with the tools on its PATH, in a folder, on a terminal of `width` columns.
    pub fn start(folder: &Path, width: usize, line: &str) -> Self {
        let own = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
        fs::write(own.path().join("line"), format!("set -o pipefail\nstty rows 50 cols {width}\n{line}\n")).unwrap();
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .arg(format!("bash {}", own.path().join("line").display()))
            .arg(typescript(own.path()))
            .current_dir(folder)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let keyboard = script.stdin.take().unwrap();
        Terminal { script, keyboard, folder: own, width }
    }

    /// Everything that was written to the terminal.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&fs::read(typescript(self.folder.path())).unwrap_or_default()).into_owned()
    }

    /// Waits until a text was written.
    pub fn wait_for(&self, text: &str) {
        wait_until(text, LIMIT, || self.written().contains(text));
    }

    /// Presses ^C.
    pub fn interrupt(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    /// Waits for the end. The lines that the terminal shows then.
    pub fn screen(&mut self) -> Vec<String> {
        wait_until("the end of the command", LIMIT, || self.script.try_wait().unwrap().is_some());
        let text = self.written();
        // `script` adds a first and a last line.
        let text = text.split_once('\n').map_or("", |(_, text)| text);
        let mut lines = shown(text.rsplit_once("\nScript done").map_or(text, |(text, _)| text), self.width);
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if it has ended.
        drop(self.script.kill());
        drop(self.script.wait());
    }
}

fn typescript(folder: &Path) -> PathBuf {
    folder.join("typescript")
}

/// What a terminal of `width` columns shows after some output: it knows the sequences that move the cursor up and down
/// and that clear a line or the screen.
fn shown(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let mut sequence = String::new();
                for character in characters.by_ref().skip(1) {
                    sequence.push(character);
                    if character.is_alphabetic() {
                        break;
                    }
                }
                let count = sequence.trim_end_matches(char::is_alphabetic).parse().unwrap_or(1);
                match sequence.chars().last() {
                    Some('K') => lines[row] = Vec::new(),
                    Some('A') => row = row.saturating_sub(count),
                    Some('B') => row += count,
                    Some('J') => lines = vec![Vec::new(); row + 1],
                    Some('H') => (row, column) = (0, 0),
                    _ => {}
                }
            }
            character => {
                if column == width {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), Vec::new());
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}
