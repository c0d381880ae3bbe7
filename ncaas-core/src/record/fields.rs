//! The fields of a record that the tools know, each with its unit and its source.
//!
//! A field that is none is left out if its type has `#[skip_serializing_none]` or the field `skip_serializing_if`; any
//! other is written as `null`. These types are also the JSON Schema that `--schema` prints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::failure::{Failure, Kind, with_hint};
pub use crate::image_labels::{MountPaths, Protocol};
pub use crate::record::container::{Container, DetachedExec, Oom, Status, StoppedBy};
pub use crate::record::placement::Placement;

/// Everything that a job's record may hold. A record may hold more: unknown fields pass through unchanged.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecordFields {
    /// Which job this is.
    pub job: Option<Job>,
    /// The dataset: a key in the bucket, or a path on this machine for a job from arguments. A key that ends in `/`
    /// is a folder.
    pub dataname: Option<Datasets>,
    /// The config: a key in the bucket, or a path on this machine for a job from arguments.
    pub configname: Option<String>,
    /// The submission's own `resultpath`, `s3://bucket/path`: results go to `path/<job id>/` there.
    pub resultpath: Option<String>,
    /// Absolute path of the io-dir on this machine that the job reads from and writes to.
    pub io_dir: Option<String>,
    /// The image as it was named.
    pub image: Option<String>,
    /// The id of the image that ran, `sha256:...`.
    pub image_id: Option<String>,
    /// Command and arguments, replacing the image's own command.
    pub command: Option<Vec<String>>,
    /// How the container is run, beyond image and command.
    pub run: Option<RunSettings>,
    /// The job's dataset and config as they were at its start.
    pub inputs: Option<Vec<InputFile>>,
    /// The container and its state.
    pub container: Option<Container>,
    /// The scheduler's job that runs the pipe for this record.
    pub placement: Option<Placement>,
    /// A command that runs detached in the container.
    pub exec: Option<DetachedExec>,
    /// Where its log and status files are.
    pub logs: Option<Logs>,
    /// The line of a failed job's output that most likely says why it failed.
    pub cause: Option<String>,
    /// The resources that it used. The engine samples a running container about once a second: absent for a job that
    /// was too short, or had ended before it was followed.
    pub usage: Option<Usage>,
    /// The files that it produced; empty if `results_file` lists them.
    pub results: Option<Vec<ResultFile>>,
    /// The file that lists its results, if they are too many for a record.
    pub results_file: Option<ResultsFile>,
    /// How many files of a job without any result `ncaas-sync collect` left out, such as files in `/tmp`.
    /// `ncaas-exec rm` keeps such a container.
    pub uncollected: Option<u64>,
    /// True when the bucket has the job's saved record of this attempt: only its container has to be removed.
    pub pushed: Option<bool>,
    /// True when a stage has printed how the job ended: later stages do not print it again.
    pub outcome_reported: Option<bool>,
    /// True if the time limit is the `__duration__` of the config.
    pub limited_by_config: Option<bool>,
    /// How many jobs `ncaas-exec run` has not started yet: for the stage that shows it on a terminal; absent if there
    /// are none.
    pub jobs_waiting: Option<u64>,
    /// Id of the job that `run --replay` repeats.
    pub replay_of: Option<String>,
    /// What `run --dry-run` resolved: the container that it would start, and the equivalent `docker run` line.
    pub dry_run: Option<serde_json::Value>,
    /// The beginning of a line of input that is not a record.
    pub line: Option<String>,
    /// The job manager's steps before the container started: the certificate's set-up log.
    pub setup: Option<Vec<SetupEvent>>,
    /// Warnings for the user.
    pub warnings: Option<Vec<String>>,
    /// The failure that ended the work on this record; null if there is none.
    pub error: Option<ErrorInfo>,
}

impl RecordFields {
    /// Whether the tools know a field of that name. Text from outside must not set it: a submit file with an
    /// `image` or an `io_dir` would choose what runs, and where.
    pub fn has_field(name: &str) -> bool {
        schemars::schema_for!(RecordFields).get("properties").is_some_and(|fields| fields.get(name).is_some())
    }
}

/// One dataset run with one config in one image. The datasets of a submission share its id.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// `job__<analysis>_<timestamp>`: the name of the job's folder among the group's results.
    pub id: String,
    /// The bucket, `s3://name` or an absolute path; none for a job from arguments.
    pub bucket: Option<String>,
    /// The group: first folder in the bucket; none for a job from arguments.
    pub group: Option<String>,
    /// Key of the submit file.
    pub submission: Option<String>,
    /// The submission's own timestamp, as it was written.
    pub timestamp: Option<String>,
    /// Which of the submission's datasets this is, from 1.
    #[serde(default = "first_dataset")]
    pub dataset: u64,
    /// How many datasets the submission has.
    #[serde(default = "first_dataset")]
    pub datasets: u64,
    /// The label in the names of its log and status files; absent if it is the dataset's base name.
    pub label: Option<String>,
    /// Which attempt at the submission this is, from 2 on; none for the first. `ncaas-submit retry` begins a new one;
    /// results saved by an earlier attempt are ignored.
    pub attempt: Option<u64>,
    /// The claim under which a watcher emitted it; none for a job that no watcher emitted.
    pub claim: Option<JobClaim>,
}

/// The claim under which a record was emitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobClaim {
    /// Its number. The work of a record is superseded when the bucket's claim has a higher one.
    pub number: u64,
    /// Id of the watcher.
    pub watcher: String,
    /// Which run of the dataset's job at a scheduler this is, from 1; none for a job that no scheduler placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
}

fn first_dataset() -> u64 {
    1
}

/// A dataset's name; several only in a submit file, and in the record of a refused one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Datasets {
    /// One key or path.
    One(String),
    /// A list of keys.
    Many(Vec<String>),
}

impl Job {
    /// The number of the attempt at the submission, from 1.
    pub fn attempt_number(&self) -> u64 {
        self.attempt.unwrap_or(1)
    }
}

impl Datasets {
    /// All names.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Datasets::One(name) => vec![name],
            Datasets::Many(names) => names.iter().map(String::as_str).collect(),
        }
    }

    /// The only name, or the first of several.
    pub fn first(&self) -> Option<&str> {
        match self {
            Datasets::One(name) => Some(name),
            Datasets::Many(names) => names.first().map(String::as_str),
        }
    }
}

/// How a container is run, beyond its image and command. These settings are enough to run it again.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunSettings {
    /// Environment variables, in addition to the image's own and `data` and `config`.
    pub env: Option<BTreeMap<String, String>>,
    /// Names of environment variables whose values are secret. The values come from the environment of the tool each
    /// time, and are not stored in any record.
    pub secret_env: Option<Vec<String>>,
    /// How long the job may run, in seconds.
    pub timeout_s: Option<u64>,
    /// Memory limit in bytes; swap is included.
    pub memory: Option<u64>,
    /// Limit in processors, 0.5 for half of one.
    pub cpus: Option<f64>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Whether it gets a GPU.
    pub gpus: Option<Gpus>,
    /// Network: `none`, `host`, `bridge`, or the name of one.
    pub network: Option<String>,
    /// User in the container: a name, or `uid:gid`.
    pub user: Option<String>,
    /// Platform of the image, `os/architecture`.
    pub platform: Option<String>,
    /// Absolute path of the io-dir in the container.
    pub mount: Option<String>,
    /// Paths of single parts of the io-dir in the container.
    pub mounts: Option<MountPaths>,
    /// Further files and folders of this machine, mounted read-only: `HOST:CONTAINER:ro`, both absolute.
    pub volumes: Option<Vec<String>>,
    /// Replaces the image's entrypoint; its command is dropped, as `docker run --entrypoint` does.
    pub entrypoint: Option<Vec<String>>,
    /// Working directory, instead of the image's.
    pub workdir: Option<String>,
    /// Whether the container's root file system is read-only.
    pub read_only: Option<bool>,
    /// Paths in the container that are in memory and writable, with options as in `docker run --tmpfs`.
    pub tmpfs: Option<Vec<String>>,
    /// How the analysis gets its inputs.
    pub protocol: Option<Protocol>,
    /// Maximum number of processes and threads; 0 for no limit.
    pub pids: Option<u64>,
    /// How much of its output the engine keeps, in bytes; 0 for no limit. The oldest part is dropped first.
    pub log_size: Option<u64>,
    /// Whether processes may gain privileges, as `sudo` does.
    pub new_privileges: Option<bool>,
    /// Capabilities in addition to those that a job has by default: `NET_RAW`, ...
    pub cap_add: Option<Vec<String>>,
    /// Size limit of the container's own layer, in bytes, if the engine's storage driver supports one.
    pub storage: Option<u64>,
}

/// Whether a container gets a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gpus {
    /// No GPU.
    #[default]
    None,
    /// A GPU if the engine has one.
    Auto,
    /// A GPU; the job does not start without one.
    Require,
}

/// A dataset or config as it was when the job started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// Its name: what `dataname` or `configname` says.
    pub name: String,
    /// Size in bytes; for a folder, the size of all files in it.
    pub size: u64,
    /// SHA-256 of its content in hex. For a folder, SHA-256 of the list of its files, one line `<sha256>  <path in the
    /// folder>` for each, in the order of their paths: `(cd FOLDER && find -L . -type f -printf '%P\0' | LC_ALL=C sort
    /// -z | xargs -0 sha256sum) | sha256sum`.
    pub sha256: String,
}

/// Where a job's log and status files are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logs {
    /// Absolute path of the folder on this machine.
    pub dir: String,
    /// Lines that the job printed, on both streams.
    pub lines: u64,
    /// Bytes that the job printed, on both streams.
    pub bytes: u64,
}

/// The resources that a job used, from samples of about one a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// CPU time, in seconds of one CPU.
    pub cpu_s: f64,
    /// The busiest interval between two samples, in percent of one CPU.
    pub cpu_peak_percent: f64,
    /// The most memory at any sample, in bytes, as `docker stats` counts it: without the page cache that can be
    /// dropped.
    pub memory_peak_bytes: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks.
    pub written_bytes: u64,
    /// Bytes received from the network.
    pub received_bytes: u64,
    /// Bytes sent to the network.
    pub sent_bytes: u64,
    /// The most processes and threads at any sample.
    pub processes_peak: u64,
    /// The use of resources over time, in about a hundred points:
    /// `[seconds since the start, percent of one CPU, bytes]`.
    pub series: Vec<(f64, f64, u64)>,
}

/// One file that a job produced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultFile {
    /// Path relative to the io-dir, `results/<job id>/process_results/...`.
    pub path: String,
    /// Size in bytes; 0 for a link.
    pub size: u64,
    /// SHA-256 of its content, in hex; none for a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Absolute path in the container that it came from.
    pub source: String,
    /// True if the job did not succeed: the file may be incomplete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A file that lists a job's results: one JSON object a line, as in `results`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResultsFile {
    /// Path relative to the io-dir, `results/<job id>/logs/<label>.results.jsonl`.
    pub path: String,
    /// How many results it lists.
    pub count: u64,
    /// Its own size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// One step of the job manager's work for a submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetupEvent {
    /// RFC 3339 in UTC.
    pub time: String,
    /// The step, in words.
    pub event: String,
}

/// The failure that a record carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorInfo {
    /// The tool that failed.
    pub tool: String,
    /// The class of the failure, for programs.
    pub kind: Kind,
    /// The message for people.
    pub message: String,
    /// The remedy, for people.
    pub hint: Option<String>,
}

impl ErrorInfo {
    /// The failure of a tool as a record has it.
    pub fn new(tool: &str, failure: &Failure) -> Self {
        let Failure { kind, message, hint } = failure.clone();
        ErrorInfo { tool: tool.to_owned(), kind, message, hint }
    }

    /// The message and, on a second line, the hint.
    pub fn with_hint(&self) -> String {
        with_hint(&self.message, self.hint.as_deref())
    }
}
