//! The outcome of a build: an image, or the step that failed with the last lines of its output.

use std::collections::VecDeque;

use ncaas_core::engine::is_disk_full;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::text::quoted;
use ncaas_core::tool::Tool;

use super::dockerfile::Instruction;
use crate::image_record::{FailedStep, Image};
use crate::progress::last_state;

/// Number of output lines of a failed step that its record carries.
pub(crate) const LINES: usize = 20;
/// The longest such line, in characters.
const LINE: usize = 2000;
/// How much of a failed command is shown, in characters.
const LONGEST_COMMAND: usize = 120;

/// The remedy for an image with too many layers.
pub(crate) const TOO_MANY_LAYERS: &str =
    "join `RUN` and `COPY` steps, or flatten the base image: `ncaas-build commit CONTAINER --squash`";

/// The last lines of an output that comes in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    /// The line that has not ended yet.
    unfinished: String,
}

impl Tail {
    /// Adds a piece of output.
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
        let line = last_state(line.trim_end());
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.chars().take(LINE).collect());
    }

    /// The lines, the unfinished one included.
    pub(crate) fn into_lines(mut self) -> Vec<String> {
        let unfinished = std::mem::take(&mut self.unfinished);
        if !unfinished.trim().is_empty() {
            self.keep(&unfinished);
        }
        self.lines.into()
    }
}

#[derive(Debug)]
pub(crate) struct BuiltImage {
    /// `buildkit` or `classic`.
    pub(crate) builder: &'static str,
    pub(crate) image_id: String,
    /// Bytes sent to the engine.
    pub(crate) sent: u64,
}

#[derive(Debug)]
pub(crate) struct BuildFailure {
    /// The failure, as every record has it in `error`.
    pub(crate) failure: Failure,
    /// The step that failed, for additional fields of `error`.
    pub(crate) step: Option<Box<FailedStep>>,
}

impl From<Failure> for BuildFailure {
    fn from(failure: Failure) -> Self {
        BuildFailure { failure, step: None }
    }
}

impl BuildFailure {
    /// The failure of a step, with the reason that the engine gives.
    pub(crate) fn of_step(step: FailedStep, reason: &str) -> Self {
        let command = step.command.as_deref().map(|command| quoted(command, LONGEST_COMMAND));
        let which = match (&step.step, command) {
            (Some(number), Some(command)) => format!("step {number} {command}"),
            (None, Some(command)) => command,
            _ => "the build".to_owned(),
        };
        let message = match step.exit_code {
            Some(code) => format!("{which} failed with exit code {code}"),
            None => format!("{which} failed: {}", reason.trim()),
        };
        let mut failure = Failure::new(Kind::BuildFailed, message);
        failure.hint = hint(&step, reason).map(str::to_owned);
        BuildFailure { failure, step: Some(Box::new(step)) }
    }

    /// Whether an image was removed while the engine compared it with a step. The classic builder compares each step
    /// with all images of the same parent, and fails if one of them has gone, even if it is another user's.
    pub(crate) fn is_of_removed_image(&self) -> bool {
        self.step.is_some() && self.failure.message.contains("unable to find image \"sha256:")
    }

    /// Adds the hint that depends on the Dockerfile: a package manager that runs as another user than root.
    pub(crate) fn explain_step(mut self, steps: &[Instruction]) -> Self {
        let Some(step) = &self.step else { return self };
        let command = step.command.as_deref().unwrap_or_default();
        let is_denied = step.output.iter().any(|line| {
            let line = line.to_lowercase();
            ["permission denied", "are you root", "must be root", "superuser", "requires root"]
                .iter()
                .any(|words| line.contains(words))
        });
        if !is_denied || !command.starts_with("RUN") {
            return self;
        }
        let installs = ["apt-get", "apt ", "dpkg", "yum", "dnf", "apk", "conda install", "pip install", "npm install"];
        if installs.iter().any(|program| command.contains(program)) && !runs_as_root(steps, command) {
            self.failure.hint = Some(
                "the step does not run as root: write `USER root` before it, and `USER neurocaasdev` after it"
                    .to_owned(),
            );
        }
        self
    }
}

/// Whether the last `USER` before a `RUN` is root. An image of the tools has another user.
fn runs_as_root(steps: &[Instruction], command: &str) -> bool {
    let run = command.trim_start_matches("RUN").trim();
    let before = steps.iter().take_while(|step| step.word != "RUN" || step.rest != run);
    let before: Vec<&Instruction> = before.collect();
    let stage = before.iter().rposition(|step| step.word == "FROM").unwrap_or(0);
    let user = before[stage..].iter().rfind(|step| step.word == "USER").map(|step| step.rest.as_str());
    user.is_some_and(|user| matches!(user.split(':').next(), Some("root" | "0")))
}

/// The remedy for a failed step, by its exit code or the words of the engine.
fn hint(step: &FailedStep, reason: &str) -> Option<&'static str> {
    if reason.contains("max depth exceeded") {
        return Some(TOO_MANY_LAYERS);
    }
    if is_disk_full(reason) {
        return Kind::DiskFull.remedy();
    }
    if reason.contains("pull access denied") || reason.contains("repository does not exist") {
        return Some("check the name of the base image; for a private one, run `docker login` first");
    }
    match step.exit_code {
        Some(126) => Some("exit code 126: the command exists and cannot be executed"),
        Some(127) => Some("exit code 127: the command is not in the image"),
        Some(137) => Some("exit code 137: the step was killed, most often because memory ran out"),
        _ => None,
    }
}

/// Writes the record of a build. That of a failed build has the failed step in its `error`.
pub(crate) async fn write_record(tool: Tool, record: &mut Record, output: &Output, built: Result<Image, BuildFailure>) {
    match built {
        Ok(image) => record.merge(&image),
        Err(BuildFailure { failure, step }) => {
            if tool.is_quiet() {
                // Without `-q` the whole output has been printed.
                step.iter().flat_map(|step| &step.output).for_each(|line| tool.print_output(line));
            }
            output.report_failure(tool, &failure);
            record.fail(tool.name(), &failure);
            if let Some(step) = step {
                record.set("error", &step);
            }
        }
    }
    output.emit(record).await;
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::instructions;
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
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

    fn failed(command: &str, exit_code: i64, output: &str) -> BuildFailure {
        let step = FailedStep {
            step: Some("3/5".to_owned()),
            command: Some(command.to_owned()),
            exit_code: Some(exit_code),
            output: vec![output.to_owned()],
        };
        BuildFailure::of_step(step, "")
    }

    #[test]
    fn a_failed_step_is_named_with_its_exit_code() {
        assert_eq!(failed("RUN make", 2, "").failure.message, "step 3/5 `RUN make` failed with exit code 2");
    }

    #[test]
    fn a_package_manager_without_root_gets_a_hint() {
        let said = "E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)";
        let hint = |dockerfile: &str| {
            let failed = failed("RUN apt-get update", 100, said);
            failed.explain_step(&instructions(dockerfile)).failure.hint.unwrap_or_default()
        };
        assert!(hint("FROM x\nRUN apt-get update\n").contains("`USER root`"));
        assert!(hint("FROM x\nUSER root\nFROM y\nRUN apt-get update\n").contains("`USER root`"));
        assert_eq!(hint("FROM x\nUSER 0:0\nRUN apt-get update\n"), "");
    }
}
