//! The job of a scheduler that runs the pipe for a record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A record's job at a scheduler, as the scheduler last reported it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Placement {
    /// The scheduler: `slurm` or `batch`.
    pub on: String,
    /// The scheduler's own id of the job; null before it is submitted.
    pub id: Option<String>,
    /// The job's name at the scheduler. It is derived from the record's job, so that a second placer finds the same
    /// job.
    pub name: String,
    /// The scheduler's state of the job, in lower case: `pending`, `running`, `completed`, `node_fail`, ...
    pub state: String,
    /// Why the job waits or ended, in the scheduler's words.
    pub reason: Option<String>,
    /// The node that runs it.
    pub node: Option<String>,
    /// How many times the scheduler has requeued the job, or the placer has submitted it again.
    pub restarts: u64,
    /// When it was submitted, as the scheduler writes it (local time of its controller).
    pub submitted_at: Option<String>,
    /// When it ended, as the scheduler writes it; null while it has not.
    pub ended_at: Option<String>,
}
