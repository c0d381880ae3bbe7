//! `ncaas-exec run --follow`: the output of jobs on stderr as it comes.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::Result;
use ncaas_core::record::Record;
use ncaas_core::text;
use ncaas_core::tool::Tool;

/// Copies the output of a record's container to stderr until it ends. Lines of one of several datasets begin with its
/// name.
pub(super) async fn copy_output(tool: Tool, engine: &Engine, record: &Record) -> Result<()> {
    let Some(container) = record.container() else { return Ok(()) };
    let has_siblings = record.job().is_some_and(|job| job.datasets > 1);
    let dataset = record.dataset_name().filter(|_| has_siblings);
    let prefix = dataset.map(|name| format!("{}: ", text::one_line(&name))).unwrap_or_default();
    let options = LogsOptions { follow: true, stdout: true, stderr: true, ..LogsOptions::default() };
    let mut output = engine.docker().logs(&container.id, Some(options));
    // Each stream's line that is not complete yet.
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        let piece = piece.engine_context("read the output of", Subject::Container(&container.id))?;
        let line = if matches!(piece, LogOutput::StdErr { .. }) { &mut stderr } else { &mut stdout };
        for part in piece.into_bytes().split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                write_line(tool, &prefix, line);
                line.clear();
            }
        }
    }
    for rest in [stdout, stderr].iter().filter(|rest| !rest.is_empty()) {
        write_line(tool, &prefix, rest);
    }
    Ok(())
}

fn write_line(tool: Tool, prefix: &str, line: &[u8]) {
    tool.print_output(&format!("{prefix}{}", String::from_utf8_lossy(line).trim_end()));
}
