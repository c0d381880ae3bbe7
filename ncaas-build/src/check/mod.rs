//! `ncaas-build check`: looks for the known traps in a script or a build context, before they cost a build or a job.

mod folder;
mod script;
mod shell;

use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::CheckArgs;
use crate::fields::Written;

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
    fn new(
        file: &Path,
        line: Option<usize>,
        trap: Trap,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding { file: file.display().to_string(), line, trap, message: message.into(), remedy: remedy.into() }
    }
}

/// Writes a record for every trap that is found. The exit status is 1 where there is one.
pub(crate) async fn check(tool: Tool, args: CheckArgs) -> Result<ExitStatus> {
    if args.schema.schema {
        return print_schema::<Written<Finding>>().await;
    }
    let paths = if args.paths.is_empty() { vec![PathBuf::from(".")] } else { args.paths };
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            for path in &paths {
                let metadata = std::fs::metadata(path).doing("read", path)?;
                let findings = if metadata.is_dir() { folder::check(path)? } else { script::check(path)? };
                for finding in findings {
                    let at = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
                    let words = format!("`{}{at}`: {}", finding.file, finding.message);
                    let failure = Failure::new(Kind::BuildFailed, words).hint(&finding.remedy);
                    tool.report_failure(&failure);
                    output.note_failure(&failure);
                    output.emit(&record(&finding)).await;
                }
            }
            Ok(())
        })
        .await
}

fn record(finding: &Finding) -> Record {
    let mut record = Record::default();
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(finding) {
        for (name, value) in &fields {
            record.set(name, value);
        }
    }
    record
}
