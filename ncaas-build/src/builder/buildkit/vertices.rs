//! What BuildKit tells of a build: vertices, which are the steps, and what they print, each known by its digest.

use std::collections::HashMap;

use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};
use ncaas_core::failure::{Failure, Kind, Result};
use prost::Message as _;
use serde_json::Value;

use crate::builder::outcome::{BuildFailure, Tail};
use crate::engine_stream::Message;
use crate::image_record::FailedStep;
use crate::progress::Terminal;

/// Id of the messages that hold progress.
const TRACE: &str = "moby.buildkit.trace";

/// The steps of a build, as far as they are known.
pub(super) struct Vertices<'a> {
    terminal: &'a Terminal,
    by_digest: HashMap<String, Step>,
    image_id: Option<String>,
}

#[derive(Default)]
struct Step {
    /// By which it is shown, `#5`.
    number: usize,
    name: String,
    announced: bool,
    ended: bool,
    error: String,
    tail: Tail,
    /// Whether what was printed last did not end its line.
    within_line: bool,
}

impl<'a> Vertices<'a> {
    pub(super) fn new(terminal: &'a Terminal) -> Self {
        Vertices { terminal, by_digest: HashMap::new(), image_id: None }
    }

    /// Id of the finished image.
    pub(super) fn image_id(&self) -> Option<String> {
        self.image_id.clone()
    }

    /// Takes in the next message.
    pub(super) fn hear(&mut self, message: &Message) -> Result<(), BuildFailure> {
        match (message.id.as_deref(), &message.aux) {
            (Some(TRACE), Some(Value::String(encoded))) => self.trace(encoded)?,
            (_, Some(Value::Object(aux))) => {
                if let Some(Value::String(id)) = aux.get("ID") {
                    self.image_id = Some(id.clone());
                }
            }
            _ => {}
        }
        if let Some(text) = &message.stream {
            self.terminal.print(text);
        }
        if let Some(reason) = message.failure() {
            self.terminal.print(&format!("ERROR: {reason}\n"));
            return Err(self.failed(reason));
        }
        Ok(())
    }

    fn trace(&mut self, encoded: &str) -> Result<()> {
        let unreadable = || Failure::new(Kind::EngineError, "the engine's progress is not readable");
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| unreadable())?;
        let status = StatusResponse::decode(bytes.as_slice()).map_err(|_| unreadable())?;
        for vertex in status.vertexes {
            self.vertex(vertex);
        }
        for log in &status.logs {
            self.log(log);
        }
        for warning in &status.warnings {
            self.terminal.print(&format!("WARNING: {}\n", String::from_utf8_lossy(&warning.short)));
        }
        Ok(())
    }

    fn vertex(&mut self, vertex: Vertex) {
        let next = self.by_digest.len() + 1;
        let step = self.by_digest.entry(vertex.digest).or_insert_with(|| Step { number: next, ..Step::default() });
        step.name = vertex.name;
        if vertex.started.is_some() && !step.announced {
            step.announced = true;
            self.terminal.print(&format!("#{} {}\n", step.number, step.name));
        }
        if vertex.completed.is_some() && !step.ended {
            step.ended = true;
            step.error = vertex.error;
            let seconds = vertex
                .started
                .zip(vertex.completed)
                .map(|(from, to)| (to.seconds - from.seconds) as f64 + f64::from(to.nanos - from.nanos) / 1e9);
            let how = match (&step.error, vertex.cached, seconds) {
                (error, ..) if !error.is_empty() => "ERROR".to_owned(),
                (_, true, _) => "CACHED".to_owned(),
                (.., Some(seconds)) => format!("DONE {seconds:.1}s"),
                _ => return,
            };
            self.terminal.print(&format!("#{} {how}\n\n", step.number));
        }
    }

    fn log(&mut self, log: &VertexLog) {
        let Some(step) = self.by_digest.get_mut(&log.vertex) else { return };
        let text = String::from_utf8_lossy(&log.msg);
        step.tail.push(&text);
        let mut shown = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            if !step.within_line {
                shown.push_str(&format!("#{} ", step.number));
            }
            shown.push_str(line);
            step.within_line = !line.ends_with('\n');
        }
        self.terminal.print(&shown);
    }

    /// The build's failure, told with the step at which it failed.
    pub(super) fn failed(&mut self, reason: &str) -> BuildFailure {
        // Steps that were at work beside the one that failed are cancelled, and have an error too.
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

/// `[build 2/5] RUN make` in its two parts.
fn split_name(name: &str) -> (Option<String>, String) {
    let parts = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    match parts {
        Some((step, command)) if step.contains('/') => {
            (Some(step.rsplit(' ').next().unwrap_or(step).to_owned()), command.to_owned())
        }
        _ => (None, name.to_owned()),
    }
}

/// `...: exit code: 42`, in which engines of all versions agree.
fn exit_code(reason: &str) -> Option<i64> {
    let (_, code) = reason.rsplit_once("exit code: ")?;
    code.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_known_by_its_name() {
        assert_eq!(split_name("[2/3] RUN make"), (Some("2/3".to_owned()), "RUN make".to_owned()));
        assert_eq!(split_name("[build 12/13] COPY a b"), (Some("12/13".to_owned()), "COPY a b".to_owned()));
        assert_eq!(split_name("[internal] load .dockerignore"), (None, "[internal] load .dockerignore".to_owned()));
    }

    #[test]
    fn engines_of_all_versions_name_the_exit_code() {
        assert_eq!(exit_code("executor failed running [/bin/sh -c exit 42]: exit code: 42"), Some(42));
        assert_eq!(exit_code("process \"/bin/sh\" did not complete successfully: exit code: 1"), Some(1));
        assert_eq!(exit_code("failed to compute cache key: not found"), None);
    }
}
