//! Which step of a Dockerfile a build is at, and what that step has printed last: what a failure is told with.

use std::collections::VecDeque;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::tool::Tool;

use crate::image_record::{FailedStep, Image};
use crate::progress::plain;

/// How many lines of a failed step's output its record carries.
pub(crate) const LINES: usize = 20;
/// How long such a line may be, in characters.
const LINE: usize = 2000;

/// The last lines of an output that comes in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    /// The line that has not ended yet.
    unfinished: String,
}

impl Tail {
    /// Takes in the next piece.
    pub(crate) fn push(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            if self.unfinished.len() < LINE * 4 {
                self.unfinished.push_str(piece);
            }
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.unfinished);
                self.keep(&line);
            }
        }
    }

    fn keep(&mut self, line: &str) {
        // Of a line that a program drew over and over, the last state.
        let line = plain(line.trim_end());
        let line = line.rsplit('\r').next().unwrap_or(&line);
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.chars().take(LINE).collect());
    }

    /// All that is kept, the unfinished line included.
    pub(crate) fn into_lines(mut self) -> Vec<String> {
        let unfinished = std::mem::take(&mut self.unfinished);
        if !unfinished.trim().is_empty() {
            self.keep(&unfinished);
        }
        self.lines.into()
    }
}

/// A finished image.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `buildkit` or `classic`.
    pub(crate) builder: &'static str,
    /// Id of the image, `sha256:...`.
    pub(crate) image_id: String,
    /// Bytes sent to the engine.
    pub(crate) sent: u64,
}

/// A build that failed, and the step at which it did where there was one.
#[derive(Debug)]
pub(crate) struct BuildFailure {
    /// What goes into the record's error as it does for every failure.
    pub(crate) failure: Failure,
    /// What goes there in addition.
    pub(crate) step: Option<Box<FailedStep>>,
}

impl From<Failure> for BuildFailure {
    fn from(failure: Failure) -> Self {
        BuildFailure { failure, step: None }
    }
}

impl BuildFailure {
    /// A step that failed, with the engine's own words for why.
    pub(crate) fn of_step(step: FailedStep, reason: &str) -> Self {
        let which = match (&step.step, &step.command) {
            (Some(number), Some(command)) => format!("step {number} `{}` ", shorten(command)),
            (None, Some(command)) => format!("`{}` ", shorten(command)),
            _ => "the build ".to_owned(),
        };
        let message = match step.exit_code {
            Some(code) => format!("{which}failed with exit code {code}"),
            None => format!("{which}failed: {}", reason.trim()),
        };
        let failure = Failure::new(Kind::BuildFailed, message);
        let failure = match step.exit_code {
            Some(126) => failure.hint("126: the command is there and cannot be executed"),
            Some(127) => failure.hint("127: the command is not in the image"),
            Some(137) => failure.hint("137: it was killed, most often because the engine is out of memory"),
            _ => failure,
        };
        BuildFailure { failure, step: Some(Box::new(step)) }
    }
}

/// Writes the record of a build, also of one that failed: then with the step at which it did.
pub(crate) async fn write_record(tool: Tool, record: &mut Record, output: &Output, built: Result<Image, BuildFailure>) {
    match built {
        Ok(image) => image.merge_into(record),
        Err(BuildFailure { failure, step }) => {
            tool.report_failure(&failure);
            output.note_failure(&failure);
            record.fail(tool.name(), &failure);
            if let Some(step) = step {
                record.set("error", &step);
            }
        }
    }
    output.emit(record).await;
}

fn shorten(command: &str) -> String {
    let line = command.lines().next().unwrap_or_default();
    let short: String = line.chars().take(120).collect();
    if short.len() < command.trim_end().len() { format!("{short} ...") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(&format!("line {number}"));
            tail.push("\n");
        }
        tail.push("10 %\r20 %\r30 %");
        let lines = tail.into_lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 81"));
        assert_eq!(lines.last().map(String::as_str), Some("30 %"));
    }

    #[test]
    fn a_failed_step_is_named_with_its_exit_code() {
        let step = FailedStep {
            step: Some("3/5".to_owned()),
            command: Some("RUN make".to_owned()),
            exit_code: Some(2),
            output: Vec::new(),
        };
        let failure = BuildFailure::of_step(step, "").failure;
        assert_eq!(failure.message, "step 3/5 `RUN make` failed with exit code 2");
    }
}
