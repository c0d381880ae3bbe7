//! The line of a failed job's output that most likely says why the job failed.
//!
//! It is the last line, except where a language or a library prints something after the cause: Python's report on an
//! exception that it ignored, R's `Execution halted`, the code line of MATLAB, the last word of a logger.

use crate::text::{one_line, shorten};

/// The maximum length of the cause, in characters.
pub const LONGEST_CAUSE: usize = 200;

/// How many of the last lines are searched.
pub const SEARCHED_LINES: usize = 40;

/// Finds the cause among the last lines of one stream, which come newest first.
pub fn find_cause<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lines = lines.into_iter().map(without_margin).filter(|line| line.contains(char::is_alphanumeric));
    let mut lines: Vec<&str> = lines.take(SEARCHED_LINES).collect();
    lines.reverse();
    let searches = [python_exception, matlab_error, r_error, julia_error, cpp_exception, logged_error, last_line];
    let at = searches.into_iter().find_map(|search| search(&lines))?;
    let cause = lines[at].trim().trim_start_matches("what():");
    // The message is on the next line.
    let needs_next = cause.ends_with(':') || cause.starts_with(MATLAB_ERROR);
    let next = lines.get(at + 1).filter(|_| needs_next).map(|next| next.trim());
    let cause = next.map_or(cause.to_owned(), |next| format!("{}: {next}", cause.trim_end_matches([':', ' '])));
    Some(shorten_cause(&cause))
}

/// A cause on one line and not too long.
pub(crate) fn shorten_cause(cause: &str) -> String {
    shorten(one_line(cause).trim(), LONGEST_CAUSE)
}

const MATLAB_ERROR: &str = "Error using ";
const IGNORED: &str = "Exception ignored in";

/// A line without the margin that Python draws beside the exceptions of a group.
fn without_margin(line: &str) -> &str {
    line.trim_start().strip_prefix("| ").or(line.trim_start().strip_prefix("+ ")).unwrap_or(line)
}

/// The exception of the last traceback that Python did not ignore: the first line after it that is not indented.
fn python_exception(lines: &[&str]) -> Option<usize> {
    let is_traceback = |at: &usize| lines[*at].trim_end().ends_with("Traceback (most recent call last):");
    let is_ignored = |at: usize| at > 0 && lines[at - 1].starts_with(IGNORED);
    let traceback = (0..lines.len()).rev().filter(is_traceback).find(|at| !is_ignored(*at))?;
    (traceback + 1..lines.len()).find(|at| !lines[*at].starts_with(' '))
}

fn matlab_error(lines: &[&str]) -> Option<usize> {
    lines.iter().rposition(|line| line.starts_with(MATLAB_ERROR))
}

fn r_error(lines: &[&str]) -> Option<usize> {
    lines.last().filter(|line| line.trim() == "Execution halted")?;
    lines.iter().rposition(|line| line.starts_with("Error in ") || line.starts_with("Error:"))
}

fn julia_error(lines: &[&str]) -> Option<usize> {
    lines.iter().find(|line| line.starts_with("in expression starting at ") || line.trim() == "Stacktrace:")?;
    lines.iter().rposition(|line| line.starts_with("ERROR: "))
}

fn cpp_exception(lines: &[&str]) -> Option<usize> {
    lines.iter().find(|line| line.starts_with("terminate called after throwing"))?;
    lines.iter().rposition(|line| line.trim_start().starts_with("what():"))
}

/// The last error of a logger whose last words are no error.
fn logged_error(lines: &[&str]) -> Option<usize> {
    let has_level = |line: &str, levels: &[&str]| {
        line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| levels.contains(&word))
    };
    lines.last().filter(|line| has_level(line, &["DEBUG", "INFO", "WARN", "WARNING"]))?;
    lines.iter().rposition(|line| has_level(line, &["ERROR", "CRITICAL", "FATAL"]))
}

/// The last line that is not a remark on the cause. A Rust panic ends with a note about backtraces.
fn last_line(lines: &[&str]) -> Option<usize> {
    let is_remark = |line: &str| line.starts_with("note: ") || line.starts_with(IGNORED) || line.starts_with("Aborted");
    lines.iter().rposition(|line| !is_remark(line)).or(lines.len().checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_in_the_output_of_usual_languages() {
        let traceback =
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    run()\nKeyError: 'rate'\n";
        let ignored = "Exception ignored in: <function Reader.__del__ at 0x7f>\n";
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  | \
            ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: bad\n    \
            +------------------------------------\n";
        let cases = [
            (traceback.to_owned(), "KeyError: 'rate'"),
            (format!("{traceback}{ignored}"), "KeyError: 'rate'"),
            (
                format!("{traceback}{ignored}Traceback (most recent call last):\n  File \"a.py\"\nAttributeError: fh\n"),
                "KeyError: 'rate'",
            ),
            (
                format!("{traceback}resource_tracker.py:224: UserWarning: 1 leaked\n  warnings.warn('tracker: %d '\n"),
                "KeyError: 'rate'",
            ),
            (
                format!("{traceback}\nDuring handling of the above exception, another exception occurred:\n\n\
                    Traceback (most recent call last):\n  File \"a.py\"\nValueError: bad input:\n  line 1 is wrong\n  line 2\n"),
                "ValueError: bad input: line 1 is wrong",
            ),
            (group.to_owned(), "ExceptionGroup: two (2 sub-exceptions)"),
            ("x\n  File \"a.py\", line 1\n    f(\n     ^\nSyntaxError: '(' was never closed\n".to_owned(), "SyntaxError: '(' was never closed"),
            (
                "Error in read.csv(path) : \n  could not find function \"foo\"\nCalls: main -> read\nExecution halted\n".to_owned(),
                "Error in read.csv(path): could not find function \"foo\"",
            ),
            ("Error: object 'x' not found\nExecution halted\n".to_owned(), "Error: object 'x' not found"),
            (
                "Error using load\nUnable to find file or directory 'x.mat'.\n\nError in job (line 3)\nload(x)\n".to_owned(),
                "Error using load: Unable to find file or directory 'x.mat'.",
            ),
            (
                "ERROR: LoadError: DimensionMismatch: a\nStacktrace:\n [1] f()\n   @ Main /run.jl:1\nin expression starting at /run.jl:3\n".to_owned(),
                "ERROR: LoadError: DimensionMismatch: a",
            ),
            (
                "terminate called after throwing an instance of 'std::runtime_error'\n  what():  cannot open file\nAborted (core dumped)\n".to_owned(),
                "cannot open file",
            ),
            (
                "2026-11-28 ERROR could not read session: bad header\n2026-11-28 INFO shutting down\n".to_owned(),
                "2026-11-28 ERROR could not read session: bad header",
            ),
            ("thread 'main' panicked at a.rs:1:\nno rate\nnote: run with `RUST_BACKTRACE=1`\n".to_owned(), "no rate"),
            ("ERROR: will try again\n./run.sh: line 3: foo: command not found\n".to_owned(), "./run.sh: line 3: foo: command not found"),
            ("Aborted (core dumped)\n".to_owned(), "Aborted (core dumped)"),
            ("INFO the end\n \n-----\n".to_owned(), "INFO the end"),
        ];
        for (output, expected) in cases {
            assert_eq!(find_cause(output.lines().rev()).as_deref(), Some(expected), "{output}");
        }
        assert_eq!(find_cause(["", " "]), None);
    }
}
