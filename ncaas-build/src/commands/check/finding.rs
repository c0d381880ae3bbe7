//! One mistake that a check found, as a record.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

/// One trap, as a record of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The file, as the command line leads to it.
    pub(crate) file: String,
    /// The line, from 1; none where it is about the file as a whole.
    pub(crate) line: Option<usize>,
    /// Which trap, for programs.
    pub(crate) trap: Trap,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// The traps that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trap {
    /// The script cannot be executed: it runs when typed at a shell, and fails when the engine starts it.
    NotExecutable,
    /// No `#!` in the first line.
    NoInterpreter,
    /// Line endings of Windows.
    Crlf,
    /// `conda activate`, which works at a prompt only.
    CondaActivate,
    /// A relative path, and the script does not go to its own folder before.
    RelativePath,
    /// Nothing writes to the io-dir.
    NoIoDir,
    /// A COPY of something that is not in the context.
    MissingSource,
    /// A file that looks like a secret goes into the context.
    Secret,
    /// There is no Dockerfile.
    NoDockerfile,
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
