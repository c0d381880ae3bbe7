//! The folder of a watcher on this machine: its files, and whether they can be trusted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::failure::Kind;

pub(super) const LEASE: &str = "lease.json";
pub(super) const LOCK: &str = "lock";
pub(super) const RETRY: &str = "retry";

/// The content of `lease.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Lease {
    /// CLOCK_BOOTTIME in milliseconds up to which the claims are held.
    pub(super) deadline_ms: u64,
    /// The claims that the watcher has lost, by job, with whether another machine has them.
    #[serde(default)]
    pub(super) superseded: BTreeMap<String, Loss>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Loss {
    /// The claim's number. A record with a higher number was emitted after the watcher got the submission back.
    pub(super) number: u64,
    pub(super) elsewhere: bool,
}

/// A job whose record is to be emitted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRequest {
    /// The group.
    pub group: String,
    /// The job's id.
    pub id: String,
    /// The number of the dataset in the submission.
    pub dataset: u64,
    /// The kind of the failure.
    pub kind: Kind,
    /// The failure in words.
    pub message: String,
    /// Whether the job has ended and only lacks space or a bucket for its files: it is tried again without a limit.
    #[serde(default)]
    pub has_results: bool,
}

/// Where watchers of this user keep their leases. The second folder is used if the first one belongs to another user.
pub(super) fn lease_folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_dir()) {
        return vec![Path::new(&folder).join("ncaas/leases")];
    }
    let temporary = std::env::temp_dir().join(format!("ncaas-{}", rustix::process::getuid().as_raw())).join("leases");
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state/ncaas/leases"));
    [temporary].into_iter().chain(home).collect()
}

/// Whether a folder belongs to this user, and nobody else may write to it.
pub(super) fn is_private(folder: &Path) -> bool {
    let is_own = |metadata: &fs::Metadata| metadata.is_dir() && metadata.uid() == rustix::process::getuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|metadata| is_own(&metadata) && metadata.mode() & 0o022 == 0)
}

pub(super) fn read_lease(folder: &Path) -> Option<Lease> {
    serde_json::from_slice(&fs::read(folder.join(LEASE)).ok()?).ok()
}

/// The key of a job among the lost claims of a lease.
pub(super) fn job_key(group: &str, id: &str) -> String {
    format!("{group}/{id}")
}

pub(super) fn is_locked(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

/// Milliseconds since the machine was started, sleep included.
pub(super) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}
