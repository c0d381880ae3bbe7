//! The records as their readers know them, declared anew and strictly: a field that is renamed, or one that nobody has
//! declared here, fails the test that meets it.

use serde::Deserialize;
use serde_json::Value;

/// A job's record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are documented where they are made: ncaas-core/src/record/fields.rs")]
pub struct JobRecord {
    pub job: Option<Job>,
    pub dataname: Option<Value>,
    pub configname: Option<String>,
    pub resultpath: Option<String>,
    pub io_dir: Option<String>,
    pub image: Option<String>,
    pub image_id: Option<String>,
    pub command: Option<Vec<String>>,
    pub run: Option<Value>,
    pub inputs: Option<Vec<Value>>,
    pub container: Option<Container>,
    pub outcome_reported: Option<bool>,
    pub limited_by_config: Option<bool>,
    pub jobs_waiting: Option<u64>,
    pub replay_of: Option<String>,
    pub dry_run: Option<Value>,
    pub exec: Option<Value>,
    pub logs: Option<Logs>,
    pub cause: Option<String>,
    pub usage: Option<Usage>,
    pub results: Option<Vec<ResultFile>>,
    pub results_file: Option<ResultsFile>,
    pub uncollected: Option<u64>,
    pub pushed: Option<bool>,
    pub setup: Option<Vec<Value>>,
    pub warnings: Option<Vec<String>>,
    pub error: Option<Error>,
    /// The beginning of a line that is not a record.
    pub line: Option<String>,
}

impl JobRecord {
    pub(crate) fn deserialize_strictly(value: Value) -> serde_json::Result<Self> {
        serde_json::from_value(value)
    }

    /// The kind of its error; empty where it has none.
    pub fn error_kind(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.kind)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct Job {
    pub id: String,
    pub bucket: Option<String>,
    pub group: Option<String>,
    pub submission: Option<String>,
    pub timestamp: Option<String>,
    pub dataset: u64,
    pub datasets: u64,
    pub label: Option<String>,
    pub attempt: Option<u64>,
    pub claim: Option<JobClaim>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct JobClaim {
    pub number: u64,
    pub watcher: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct Container {
    pub id: String,
    pub name: String,
    pub state: String,
    pub status: Option<String>,
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub duration_s: Option<f64>,
    pub signal: Option<u64>,
    pub oom: Option<Value>,
    #[serde(default)]
    pub oom_evidence: Vec<String>,
    pub stopped_by: Option<String>,
    pub size_bytes: Option<u64>,
    pub restarts: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct Logs {
    pub dir: String,
    pub lines: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct Usage {
    pub cpu_s: f64,
    pub cpu_peak_percent: f64,
    pub memory_peak_bytes: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub processes_peak: u64,
    pub series: Vec<(f64, f64, u64)>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct ResultFile {
    pub path: String,
    pub size: u64,
    pub sha256: Option<String>,
    pub source: String,
    #[serde(default)]
    pub partial: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct ResultsFile {
    pub path: String,
    pub count: u64,
    pub size: u64,
    pub sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see JobRecord")]
pub struct Error {
    pub tool: String,
    pub kind: String,
    pub message: String,
    pub hint: Option<String>,
}
