//! A container in a record: its state and its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A container, in the engine's words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Container {
    /// Full id, 64 hex digits.
    pub id: String,
    /// Name, without the engine's leading slash.
    pub name: String,
    /// The engine's own word: `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub state: String,
    /// How it ended; null while it runs.
    pub status: Option<Status>,
    /// The main process's exit code; null while it runs.
    pub exit_code: Option<i64>,
    /// Whether the engine's OOMKilled flag is set: some process in it was killed for memory.
    pub oom_killed: bool,
    /// When its process started, RFC 3339 in UTC with the engine's nanoseconds; null before.
    pub started_at: Option<String>,
    /// When its process ended; null while it runs.
    pub finished_at: Option<String>,
    /// Seconds from start to end; null while it runs.
    pub duration_s: Option<f64>,
    /// Number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// Whether a process in it was killed for memory; none while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<Oom>,
    /// The evidence for `oom`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oom_evidence: Vec<String>,
    /// Who stopped it; null if it ended by itself, or that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StoppedBy>,
    /// How often the engine has restarted it; only from `ncaas-logs state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i64>,
    /// Size of the files in its own layer, in bytes, without mounts and image; only if it was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

impl Container {
    /// Whether its process has ended, or never started and never will: the engine leaves such a container `created`,
    /// with an exit code.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "exited" | "dead") || self.status.is_some()
    }

    /// Whether its process never ran. With [`Container::has_ended`], its start has failed.
    pub fn was_never_started(&self) -> bool {
        self.state == "created"
    }

    /// The time limit in seconds that the job exceeded although it succeeded. `limit` is its time limit.
    pub fn exceeded_limit(&self, limit: Option<u64>) -> Option<f64> {
        let limit = limit? as f64;
        (self.status == Some(Status::Success) && self.duration_s? > limit).then_some(limit)
    }

    /// Its id, or else its name; empty if it has neither.
    pub fn reference(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }

    /// Whether a process that the job started was killed for memory, and the job succeeded without it.
    pub fn lost_a_process(&self) -> bool {
        self.status == Some(Status::Success) && self.oom == Some(Oom::Known(true))
    }
}

/// Whether something was killed for memory: `true`, `false`, or `"unknown"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "serde_json::Value")]
pub enum Oom {
    /// Known.
    Known(bool),
    /// The container was killed, for an unknown reason.
    Unknown,
}

impl Serialize for Oom {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Oom::Known(known) => to.serialize_bool(*known),
            Oom::Unknown => to.serialize_str("unknown"),
        }
    }
}

impl<'de> Deserialize<'de> for Oom {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Ok(value.as_bool().map_or(Oom::Unknown, Oom::Known))
    }
}

/// Who stopped a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoppedBy {
    /// A user or another program: `ncaas-exec stop`, `docker kill`.
    User,
    /// The time limit.
    Timeout,
    /// The engine itself, which was stopped or restarted.
    Engine,
    /// A stage of the pipe, because its submission was cancelled.
    Cancelled,
}

impl StoppedBy {
    /// Whether the output of the job says nothing about why it ended: something outside has ended it, and not a limit.
    pub fn is_outside(self) -> bool {
        self != StoppedBy::Timeout
    }
}

/// A detached command in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DetachedExec {
    /// Its name, which no other of that container has.
    pub name: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// File in the container that holds its output; none if that is in the container's own log. Stderr is in the same
    /// path with the suffix `.err`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// File in the container that holds its exit code when it has ended.
    pub exit_file: String,
    /// Its exit code; null while it runs.
    #[serde(default)]
    pub exit_code: Option<i64>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Exit code 0.
    Success,
    /// Another exit code.
    Failed,
    /// Killed by the engine or the kernel because it was out of memory.
    OutOfMemory,
    /// Ended by a signal, without being out of memory.
    Killed,
    /// Exceeded its time limit and was stopped.
    Timeout,
}
