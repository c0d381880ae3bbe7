//! `ncaas-build check`: finds common mistakes in scripts and build contexts before they cost a build or a job.

mod context;
pub(crate) mod finding;
mod script;
mod shell_commands;

use std::path::PathBuf;

use crate::args::CheckArgs;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

/// Writes a record for every mistake. The exit status is 1 if there is one.
pub(crate) async fn check(tool: Tool, args: CheckArgs) -> Result<ExitStatus> {
    let paths = if args.paths.is_empty() { vec![PathBuf::from(".")] } else { args.paths.clone() };
    Pipe { notes_only: true, ..Pipe::for_records(tool, &args.records) }
        .source(async |output: &Output| {
            for path in &paths {
                let metadata = std::fs::metadata(path).doing("read", path)?;
                let report = if metadata.is_dir() { context::check(path)? } else { script::check(path)? };
                for note in &report.notes {
                    tool.note(note);
                }
                for finding in report.findings {
                    let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
                    let message = format!("`{}{line}`: {}", finding.file, finding.message);
                    let failure = Failure::new(Kind::BuildFailed, message).hint(&finding.remedy);
                    output.report_failure(tool, &failure);
                    output.emit(&Record::new(&finding)).await;
                }
            }
            Ok(())
        })
        .await
}
