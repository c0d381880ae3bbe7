//! The progress of a BuildKit build: its steps, which it calls vertices, and their output, each known by its digest.

use std::collections::HashMap;

use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};
use ncaas_core::failure::{Failure, Kind, Result};
use prost::Message as _;
use serde_json::Value;

use crate::builder::outcome::{BuildFailure, Tail};
use crate::engine_stream::Message;
use crate::image_record::FailedStep;
use crate::progress::Progress;

/// Id of the messages with progress.
const TRACE: &str = "moby.buildkit.trace";

/// The steps of a build that are known so far.
pub(super) struct Vertices<'a> {
    progress: &'a Progress,
    by_digest: HashMap<String, VertexState>,
    /// Digests of the steps that run, in the order of their start.
    running: Vec<String>,
    image_id: Option<String>,
}

#[derive(Default)]
struct VertexState {
    number: usize,
    name: String,
    started: bool,
    ended: bool,
    error: String,
    tail: Tail,
    /// Whether its last output did not end with a line break.
    is_line_open: bool,
}

impl<'a> Vertices<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        Vertices { progress, by_digest: HashMap::new(), running: Vec::new(), image_id: None }
    }

    pub(super) fn image_id(&self) -> Option<String> {
        self.image_id.clone()
    }

    pub(super) fn add(&mut self, message: &Message) -> Result<(), BuildFailure> {
        match (message.id.as_deref(), &message.aux) {
            (Some(TRACE), Some(Value::String(encoded))) => self.add_trace(encoded)?,
            (_, Some(Value::Object(aux))) => {
                if let Some(Value::String(id)) = aux.get("ID") {
                    self.image_id = Some(id.clone());
                }
            }
            _ => {}
        }
        if let Some(text) = &message.stream {
            self.progress.print(text);
        }
        if let Some(reason) = message.failure() {
            self.progress.print(&format!("ERROR: {reason}\n"));
            return Err(self.failed(reason));
        }
        Ok(())
    }

    fn add_trace(&mut self, encoded: &str) -> Result<()> {
        let unreadable = || Failure::new(Kind::EngineError, "cannot decode the progress of the engine");
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| unreadable())?;
        let status = StatusResponse::decode(bytes.as_slice()).map_err(|_| unreadable())?;
        for vertex in status.vertexes {
            self.add_vertex(vertex);
        }
        for log in &status.logs {
            self.add_log(log);
        }
        for warning in &status.warnings {
            self.progress.print(&format!("WARNING: {}\n", String::from_utf8_lossy(&warning.short)));
        }
        Ok(())
    }

    fn add_vertex(&mut self, vertex: Vertex) {
        let next = self.by_digest.len() + 1;
        let digest = vertex.digest.clone();
        let new = || VertexState { number: next, ..VertexState::default() };
        let step = self.by_digest.entry(vertex.digest).or_insert_with(new);
        step.name = vertex.name;
        if vertex.started.is_some() && !step.started {
            step.started = true;
            self.progress.print(&format!("#{} {}\n", step.number, step.name));
            self.running.push(digest.clone());
        }
        if vertex.completed.is_some() && !step.ended {
            step.ended = true;
            step.error = vertex.error;
            let seconds = vertex
                .started
                .zip(vertex.completed)
                .map(|(from, to)| (to.seconds - from.seconds) as f64 + f64::from(to.nanos - from.nanos) / 1e9);
            let state = match (&step.error, vertex.cached, seconds) {
                (error, ..) if !error.is_empty() => Some("ERROR".to_owned()),
                (_, true, _) => Some("CACHED".to_owned()),
                (.., Some(seconds)) => Some(format!("DONE {seconds:.1}s")),
                _ => None,
            };
            if let Some(state) = state {
                self.progress.print(&format!("#{} {state}\n\n", step.number));
            }
            self.running.retain(|running| *running != digest);
        }
        let shown = self.running.first().and_then(|digest| self.by_digest.get(digest));
        self.progress.set_step(shown.map(|step| format!("#{} {}", step.number, step.name)).as_deref());
    }

    fn add_log(&mut self, log: &VertexLog) {
        let Some(step) = self.by_digest.get_mut(&log.vertex) else { return };
        let text = String::from_utf8_lossy(&log.msg);
        step.tail.push(&text);
        let mut shown = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            if !step.is_line_open {
                shown.push_str(&format!("#{} ", step.number));
            }
            shown.push_str(line);
            step.is_line_open = !line.ends_with('\n');
        }
        self.progress.print(&shown);
    }

    /// The failure of the build, with the step that failed.
    pub(super) fn failed(&mut self, reason: &str) -> BuildFailure {
        // Steps that ran beside the one that failed are cancelled, and have an error too.
        let failed = self.by_digest.values_mut().filter(|step| !step.error.is_empty());
        let failed = failed.min_by_key(|step| (step.error.contains("context canceled"), step.number));
        let Some(step) = failed else { return BuildFailure::of_step(FailedStep::default(), reason) };
        let (number, command) = split_name(&step.name);
        let failed = FailedStep {
            step: number,
            command: Some(command),
            exit_code: exit_code(reason).or_else(|| exit_code(&step.error)),
            output: std::mem::take(&mut step.tail).into_lines(),
        };
        BuildFailure::of_step(failed, reason)
    }
}

/// Splits `[build 2/5] RUN make` into number and command.
fn split_name(name: &str) -> (Option<String>, String) {
    let parts = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match parts {
        Some((step, command)) if step.contains('/') => {
            (Some(step.rsplit(' ').next().unwrap_or(step).to_owned()), command.to_owned())
        }
        _ => (None, name.to_owned()),
    }
}

/// The exit code in `...: exit code: 42`, a form that all engine versions share.
fn exit_code(reason: &str) -> Option<i64> {
    let (_, code) = reason.rsplit_once("exit code: ")?;
    code.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_name_has_number_and_command() {
        assert_eq!(split_name("[2/3] RUN make"), (Some("2/3".to_owned()), "RUN make".to_owned()));
        assert_eq!(split_name("[build 12/13] COPY a b"), (Some("12/13".to_owned()), "COPY a b".to_owned()));
        assert_eq!(split_name("[internal] load .dockerignore"), (None, "[internal] load .dockerignore".to_owned()));
    }

    #[test]
    fn the_exit_code_is_found_in_the_errors_of_all_engine_versions() {
        assert_eq!(exit_code("executor failed running [/bin/sh -c exit 42]: exit code: 42"), Some(42));
        assert_eq!(exit_code("process \"/bin/sh\" did not complete successfully: exit code: 1"), Some(1));
        assert_eq!(exit_code("failed to compute cache key: not found"), None);
    }
}
