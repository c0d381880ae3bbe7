//! A watcher's own lease: the folder on this machine in which stages read whether its claims are held.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::watcher_folder::{
    LEASE, LOCK, Lease, Loss, RETRY, RetryRequest, is_locked, is_private, job_key, lease_folders, now_ms, read_lease,
};
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files;

/// A watcher's own lease.
#[derive(Debug)]
pub struct LeaseWriter {
    folder: PathBuf,
    lease: Lease,
    /// Locked as long as the watcher runs.
    _lock: File,
}

impl LeaseWriter {
    /// Creates the lease of a watcher, and removes leases of dead watchers that have run out. A watcher that
    /// `takes_requests` emits records again.
    ///
    /// # Errors
    /// When the folder cannot be written, or belongs to somebody else.
    pub fn create(watcher: &str, takes_requests: bool) -> Result<Self> {
        LeaseWriter::create_in_any(&lease_folders(), watcher, takes_requests)
    }

    /// Creates the lease in the first folder, or in the second one if the first one cannot be used.
    pub(super) fn create_in_any(leases: &[PathBuf], watcher: &str, takes_requests: bool) -> Result<Self> {
        let first = leases.first().map_or(Path::new(""), PathBuf::as_path);
        match (LeaseWriter::create_in(first, watcher, takes_requests), leases.get(1)) {
            // Another user may have made the first one, or a folder or file in its place.
            (Err(failure), Some(second))
                if matches!(failure.kind, Kind::UnsafePath | Kind::AccessDenied | Kind::Io) =>
            {
                LeaseWriter::create_in(second, watcher, takes_requests)
            }
            (created, _) => created,
        }
    }

    pub(super) fn create_in(leases: &Path, watcher: &str, takes_requests: bool) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(leases).doing("create the folder", leases)?;
        if let Some(folder) = [leases.parent().unwrap_or(leases), leases].into_iter().find(|folder| !is_private(folder))
        {
            let message = format!("`{}` belongs to another user, or other users may write to it", folder.display());
            return Err(Failure::new(Kind::UnsafePath, message));
        }
        remove_stale(leases);
        let folder = leases.join(watcher);
        let created = if takes_requests { folder.join(RETRY) } else { folder.clone() };
        DirBuilder::new().recursive(true).mode(0o700).create(created).doing("create the folder", &folder)?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).doing("write", &path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(std::io::Error::from)
            .doing("lock", &path)?;
        Ok(LeaseWriter { folder, lease: Lease::default(), _lock: lock })
    }

    /// Whether the deadline has passed: the machine was suspended, or the bucket was unreachable.
    pub fn has_expired(&self) -> bool {
        self.lease.deadline_ms != 0 && now_ms() >= self.lease.deadline_ms
    }

    /// Moves the deadline on to that long from now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew(&mut self, length: Duration) -> Result<()> {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.lease.deadline_ms = now_ms().saturating_add(length);
        self.write()
    }

    /// Notes that a claim is lost: the work under it and under earlier ones no longer counts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_superseded(&mut self, group: &str, id: &str, number: u64, elsewhere: bool) -> Result<()> {
        self.lease.superseded.insert(job_key(group, id), Loss { number, elsewhere });
        self.write()
    }

    /// The number of the last claim on a job that was lost; 0 if none was.
    pub fn superseded_number(&self, group: &str, id: &str) -> u64 {
        self.lease.superseded.get(&job_key(group, id)).map_or(0, |loss| loss.number)
    }

    /// Forgets about a job that has ended.
    pub fn forget(&mut self, group: &str, id: &str) {
        self.lease.superseded.remove(&job_key(group, id));
    }

    /// The records that stages have asked for again since the last call.
    pub fn take_retry_requests(&self) -> Vec<RetryRequest> {
        let entries = fs::read_dir(self.folder.join(RETRY)).into_iter().flatten().flatten();
        let mut requests = Vec::new();
        for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let request = fs::read(&path).ok().and_then(|content| serde_json::from_slice(&content).ok());
            if fs::remove_file(&path).is_ok() {
                requests.extend(request);
            }
        }
        requests
    }

    /// Removes the lease: all jobs whose records were emitted have ended.
    pub fn remove(self) {
        // A lease that stays runs out by itself.
        fs::remove_dir_all(&self.folder).unwrap_or(());
    }

    fn write(&self) -> Result<()> {
        files::write_whole(&self.folder.join(LEASE), &serde_json::to_vec(&self.lease).unwrap_or_default())
    }
}

/// Removes leases that have run out and whose watchers no longer run.
fn remove_stale(leases: &Path) {
    for folder in fs::read_dir(leases).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let day_ago = now_ms().saturating_sub(86_400_000);
        if read_lease(&folder).is_some_and(|lease| lease.deadline_ms < day_ago) && !is_locked(&folder) {
            fs::remove_dir_all(&folder).unwrap_or(());
        }
    }
}
