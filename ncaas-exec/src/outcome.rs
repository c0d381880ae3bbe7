//! The line on stderr that reports how a job ended.

use std::io::IsTerminal;

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use ncaas_core::engine::Engine;
use ncaas_core::failure_cause::{SEARCHED_LINES, find_cause};
use ncaas_core::outcome::outcome_line;
use ncaas_core::pipe::{COMPLETE_JOBS, FollowedJobs};
use ncaas_core::record::Record;
use ncaas_core::record::fields::RecordFields;
use ncaas_core::tool::Tool;

/// Reports the end of a record's job, if it has ended, with the likely cause of a failure; unless another stage does.
pub(crate) async fn report_outcome(jobs: &FollowedJobs, tool: Tool, engine: &Engine, record: &mut Record) {
    let Some(container) = record.container().filter(|container| container.has_ended()) else { return };
    if record.is_failed() && record.text("cause").is_none() && jobs.reports_end(tool, record) {
        let cause = find_cause_in_output(engine, &container.id).await;
        record.merge(&RecordFields { cause, ..RecordFields::default() });
    }
    if let Some(line) = outcome_line(record, None) {
        jobs.report(tool, record, &line);
    }
}

/// Says how to save what the jobs wrote that have ended, if their records go to a terminal, and so to no other stage.
pub(crate) fn note_unsaved(jobs: &FollowedJobs, tool: Tool) {
    if jobs.counts().ended > 0 && std::io::stdout().is_terminal() {
        tool.note(&format!(
            "results and logs are not saved yet: `{COMPLETE_JOBS}` saves them and removes the containers"
        ));
    }
}

/// The likely cause in what a container printed on stderr, or else on stdout.
async fn find_cause_in_output(engine: &Engine, id: &str) -> Option<String> {
    for is_stderr in [true, false] {
        let tail = SEARCHED_LINES.to_string();
        let options = LogsOptions { stdout: !is_stderr, stderr: is_stderr, tail, ..LogsOptions::default() };
        let mut output = Vec::new();
        let mut pieces = engine.docker().logs(id, Some(options));
        while let Some(Ok(piece)) = pieces.next().await {
            output.extend_from_slice(&piece.into_bytes());
        }
        let text = String::from_utf8_lossy(&output);
        if let Some(cause) = find_cause(text.lines().rev()) {
            return Some(cause);
        }
    }
    None
}
