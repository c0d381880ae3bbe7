//! Tables for people at a terminal.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use console::measure_text_width;

use crate::text::{one_line, shorten_middle};

/// Spaces between two columns.
const GAP: &str = "  ";
/// The minimum width of a column that is shortened to fit a terminal.
const NARROWEST: usize = 8;

/// The width of the terminal that stdout is, in characters; 80 if it is not known.
pub fn terminal_width() -> usize {
    console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

/// Whether a list is shown as a table: stdout is a terminal, and the user did not ask for records.
pub fn shows_table(json: bool) -> bool {
    !json && std::io::stdout().is_terminal()
}

/// A table with a header line. Cells are shown on one line, without control sequences.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    width: Option<usize>,
}

impl Table {
    /// A table with these column names.
    pub fn new(header: &[&str]) -> Self {
        Table { rows: vec![header.iter().map(|name| (*name).to_owned()).collect()], width: None }
    }

    /// Shortens the widest columns so that lines have at most this many characters.
    #[must_use]
    pub fn fit(self, width: usize) -> Self {
        Table { width: Some(width), ..self }
    }

    /// Adds a row. Missing cells are empty.
    pub fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        if let Some(limit) = self.width {
            let gaps = GAP.len() * columns.saturating_sub(1);
            while widths.iter().sum::<usize>() + gaps > limit {
                match widths.iter_mut().max().filter(|widest| **widest > NARROWEST) {
                    Some(widest) => *widest -= 1,
                    None => break,
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let cell = if measure_text_width(cell) > *width { shorten_middle(cell, *width) } else { cell.clone() };
                let padding = width.saturating_sub(measure_text_width(&cell));
                write!(line, "{}{cell}{:padding$}", if at > 0 { GAP } else { "" }, "")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_shortened_to_fit() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.push(["é日本.npy".to_owned(), "running".to_owned()]);
        table.push(["\u{1b}[31ma\nb\u{7}".to_owned(), "failed".to_owned()]);
        assert_eq!(table.to_string(), "NAME       STATUS\né日本.npy  running\na b        failed\n");
        table.push(["a_very_long_name_of_a_dataset.npy".to_owned(), "success".to_owned()]);
        let narrow = table.fit(24).to_string();
        assert!(narrow.lines().all(|line| measure_text_width(line) <= 24), "{narrow}");
        assert!(narrow.contains("a_very_…set.npy  success"), "{narrow}");
    }
}
