//! Tables for people at a terminal.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use console::measure_text_width;

use crate::text::{one_line, shorten_middle};

/// Spaces between two columns.
const GAP: &str = "  ";
/// The minimum width of a column that is shortened to fit a terminal.
const NARROWEST: usize = 16;
/// The indentation of the second line of a row that has two.
const INDENT: &str = "  ";

/// The width of the terminal that stdout is, in characters; 80 if it is not known.
pub fn terminal_width() -> usize {
    console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

/// The number of lines of the terminal that stdout is; 24 if it is not known.
pub fn terminal_height() -> usize {
    console::Term::stdout().size_checked().map_or(24, |(lines, _)| usize::from(lines))
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
    is_last_optional: bool,
}

impl Table {
    /// A table with these column names.
    pub fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Table { rows: vec![header], width: None, is_last_optional: false }
    }

    /// Limits lines to this many characters. The first column is never cut, because people type the names in it. The
    /// other columns are shortened, or are on a second line.
    #[must_use]
    pub fn fit(self, width: usize) -> Self {
        Table { width: Some(width), ..self }
    }

    /// Leaves the last column out if the table would be too wide.
    #[must_use]
    pub fn with_optional_last(self) -> Self {
        Table { is_last_optional: true, ..self }
    }

    /// Adds a row. Missing cells are empty.
    pub fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// The widths of the columns of some rows, of which those from `first` on may be shortened.
    fn widths(rows: &[&[String]], first: usize, limit: usize) -> Vec<usize> {
        let columns = rows.iter().map(|row| row.len()).max().unwrap_or_default();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        while total(&widths) > limit {
            match widths.iter_mut().skip(first).max().filter(|widest| **widest > NARROWEST) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }
}

/// The width of a line.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.width.unwrap_or(usize::MAX);
        let mut rows: Vec<&[String]> = self.rows.iter().map(Vec::as_slice).collect();
        if self.is_last_optional && total(&Self::widths(&rows, usize::MAX, limit)) > limit {
            rows.iter_mut().for_each(|row| *row = row.split_last().map_or(row, |(_, others)| others));
        }
        let widths = Self::widths(&rows, 1, limit);
        if total(&widths) <= limit {
            return rows.iter().try_for_each(|row| write_line(f, "", row, &widths));
        }
        let details: Vec<&[String]> = rows.iter().map(|row| row.get(1..).unwrap_or_default()).collect();
        let widths = Self::widths(&details, 0, limit.saturating_sub(INDENT.len()));
        rows.iter().zip(details).try_for_each(|(row, details)| {
            writeln!(f, "{}", row.first().map_or("", String::as_str))?;
            write_line(f, INDENT, details, &widths)
        })
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, indent: &str, row: &[String], widths: &[usize]) -> fmt::Result {
    let mut line = indent.to_owned();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let cell = if measure_text_width(cell) > *width { shorten_middle(cell, *width) } else { cell.clone() };
        let padding = width.saturating_sub(measure_text_width(&cell));
        write!(line, "{}{cell}{:padding$}", if at > 0 { GAP } else { "" }, "")?;
    }
    writeln!(f, "{}", line.trim_end())
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
        let text = "a text that is not short".to_owned();
        table.push(["a_long_name_of_a_dataset.npy".to_owned(), text]);
        let narrow = |width: usize| table.clone().fit(width).to_string();
        assert!(narrow(46).contains("a_long_name_of_a_dataset.npy  a text t…t short\n"), "{}", narrow(46));
        assert!(narrow(30).contains("a_long_name_of_a_dataset.npy\n  a text that is not short\n"), "{}", narrow(30));
        for width in [30, 46] {
            assert!(narrow(width).lines().all(|line| measure_text_width(line) <= width), "{}", narrow(width));
        }
    }

    #[test]
    fn an_optional_last_column_is_left_out_before_others_are_shortened() {
        let mut table = Table::new(&["NAME", "AGE", "OWNER"]).with_optional_last().fit(20);
        table.push(["a".to_owned(), "3 m".to_owned(), "x".repeat(30)]);
        assert_eq!(table.to_string(), "NAME  AGE\na     3 m\n");
    }
}
