//! The mistakes that a check finds, each of them a record.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    /// A remark that is not a mistake.
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The file, by its path from the command line.
    pub(crate) file: String,
    /// The line, from 1; none if the whole file is meant.
    pub(crate) line: Option<usize>,
    /// The kind of mistake, for programs.
    pub(crate) trap: Trap,
    /// The mistake, for people.
    pub(crate) message: String,
    /// How to correct it.
    pub(crate) remedy: String,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trap {
    /// The script is not executable: it runs from a shell, but the engine cannot start it.
    NotExecutable,
    /// The `#!` line is missing, or cannot start the script.
    NoInterpreter,
    /// Windows line endings.
    Crlf,
    /// `conda activate`, which works only in an interactive shell.
    CondaActivate,
    /// A relative path, without a change to the folder of the script before.
    RelativePath,
    /// A COPY of a file that is not in the context.
    MissingSource,
    /// A file in the context that looks like a secret.
    Secret,
    /// There is no Dockerfile.
    NoDockerfile,
    /// The command of the image is a file that no step creates.
    MissingCommand,
    /// The command is in shell form, which passes no arguments to the script.
    ShellForm,
    /// Data of jobs, or a large file of data, is copied into the image.
    DataInImage,
    /// The history of git (`.git`) is copied into the image.
    GitInImage,
}

impl Finding {
    pub(super) fn new(
        file: &Path,
        line: Option<usize>,
        trap: Trap,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding { file: file.display().to_string(), line, trap, message: message.into(), remedy: remedy.into() }
    }
}
