//! Leases: they tell the stages on this machine whether their watcher still holds the claims of the records that it
//! emitted.
//!
//! A stage that cannot read the bucket has to know whether its work still counts: after the machine slept, another
//! watcher may have taken the submission over. Each watcher has its folder on this machine. `lease.json` in it has a
//! deadline that the watcher moves on after it has confirmed its claims in the bucket, and the claims that it has lost.
//! The deadline counts in CLOCK_BOOTTIME, which keeps counting while the machine is suspended and cannot be set. A file
//! `lock` is locked while the watcher runs. Stages ask through `retry/` for a record to be emitted again.
//!
//! The folder is found by the watcher's id, never by a path in a record. Without such a folder the record comes from
//! another machine, and its claim is assumed to be held.

mod watcher;
mod watcher_folder;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Kind, Result};
use crate::files;
use crate::layout::short_hash;
use crate::record::Record;
use crate::record::fields::{Job, JobClaim};
pub use watcher::LeaseWriter;
pub use watcher_folder::RetryRequest;
use watcher_folder::{RETRY, is_locked, is_private, job_key, lease_folders, now_ms, read_lease};

/// How long a stage waits for a running watcher that has not renewed its lease.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// How long it takes a watcher at most to notice that it has slept.
const NOTICE: Duration = Duration::from_secs(15);

/// Time between two readings of a lease.
const POLL: Duration = Duration::from_millis(200);

/// The state of the claim on a record's job, by its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// The work counts, as far as this machine knows.
    Held,
    /// The watcher runs, and has not confirmed its claims in time: wait.
    Expired,
    /// The watcher has died, and its claims have run out: another watcher may have taken the job over.
    Abandoned,
    /// The work no longer counts.
    Superseded {
        /// Whether the job now belongs to another machine. Otherwise its container may be in use under the new claim.
        elsewhere: bool,
    },
}

/// The state of a job's lease.
pub fn read_state(job: &Job) -> LeaseState {
    read_state_in(&lease_folders(), job)
}

fn read_state_in(leases: &[PathBuf], job: &Job) -> LeaseState {
    let Some((claim, folder)) = claim_with_lease(leases, job) else { return LeaseState::Held };
    let Some(lease) = read_lease(&folder) else { return LeaseState::Held };
    if let Some(loss) = lease.superseded.get(&key_of_job(job)).filter(|loss| loss.number >= claim.number) {
        return LeaseState::Superseded { elsewhere: loss.elsewhere };
    }
    if now_ms() < lease.deadline_ms {
        LeaseState::Held
    } else if is_locked(&folder) {
        LeaseState::Expired
    } else {
        LeaseState::Abandoned
    }
}

/// Makes sure that a record's work is not known to be superseded, for a stage that is about to write.
///
/// # Errors
/// [`Kind::Superseded`].
pub fn check(record: &Record) -> Result<()> {
    match record.job() {
        Some(job) if matches!(read_state(&job), LeaseState::Superseded { .. }) => Err(superseded(&job)),
        _ => Ok(()),
    }
}

/// Makes sure that the claim on a record's job is held, for a stage that is about to start something. Waits if the
/// watcher has not confirmed its claims in time.
///
/// # Errors
/// [`Kind::Superseded`] if the claim is lost, or the watcher has died or does not confirm its claims in time.
pub async fn wait_until_held(record: &Record) -> Result<()> {
    let Some(job) = record.job() else { return Ok(()) };
    let began = Instant::now();
    loop {
        match read_state(&job) {
            LeaseState::Held => return Ok(()),
            LeaseState::Expired if began.elapsed() < MAX_WAIT => sleep(POLL).await,
            _ => return Err(superseded(&job)),
        }
    }
}

/// Whether a superseded job belongs to another machine now, so that nothing on this machine is in use for it. Waits for
/// a watcher that was suspended and has not noticed the loss yet.
pub async fn is_lost_to_another_machine(job: &Job) -> bool {
    if claim_with_lease(&lease_folders(), job).is_none() {
        return false;
    }
    let began = Instant::now();
    loop {
        match read_state(job) {
            LeaseState::Superseded { elsewhere } => return elsewhere,
            LeaseState::Held | LeaseState::Expired if began.elapsed() < NOTICE => sleep(POLL).await,
            _ => return false,
        }
    }
}

/// Whether a stage's failure is tried again under the record's claim, by its watcher, which runs on this machine.
pub fn will_retry(record: &Record, failure: &Failure) -> bool {
    let is_retried = failure.kind.is_transient() && !matches!(failure.kind, Kind::Superseded | Kind::Interrupted);
    is_retried && record.job().is_some_and(|job| requests_folder(&job).is_some())
}

/// Asks the watcher of a record to emit it again after a failure. Returns false if no running watcher of this machine
/// takes requests.
/// `has_results`: see [`RetryRequest`].
///
/// # Errors
/// When the request cannot be written.
pub fn request_retry(record: &Record, kind: Kind, message: &str, has_results: bool) -> Result<bool> {
    let Some(job) = record.job() else { return Ok(false) };
    let Some(folder) = requests_folder(&job) else { return Ok(false) };
    let name = short_hash(&format!("{} {}", key_of_job(&job), job.dataset));
    let request = RetryRequest {
        group: job.group.unwrap_or_default(),
        id: job.id,
        dataset: job.dataset,
        kind,
        message: message.to_owned(),
        has_results,
    };
    let content = serde_json::to_vec(&request).unwrap_or_default();
    files::write_whole(&folder.join(format!("{name}.json")), &content)?;
    Ok(true)
}

fn superseded(job: &Job) -> Failure {
    Failure::new(
        Kind::Superseded,
        format!("the claim on `{}` is no longer held by the watcher that emitted the record", job.id),
    )
}

/// The claim on a job, and its watcher's folder. None if the claim has no lease on this machine: a run that a scheduler
/// started outlives the watcher.
fn claim_with_lease<'j>(leases: &[PathBuf], job: &'j Job) -> Option<(&'j JobClaim, PathBuf)> {
    let claim = job.claim.as_ref().filter(|claim| claim.run.is_none())?;
    Some((claim, watcher_folder(leases, claim)?))
}

/// The folder of the watcher of a claim, if it has one that belongs to this user.
fn watcher_folder(leases: &[PathBuf], claim: &JobClaim) -> Option<PathBuf> {
    let is_id = !claim.watcher.is_empty() && claim.watcher.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut folders =
        leases.iter().filter(|leases| is_id && is_private(leases)).map(|leases| leases.join(&claim.watcher));
    folders.find(|folder| is_private(folder))
}

/// The folder for requests of the watcher that emitted a job's record, while that watcher runs and takes requests.
fn requests_folder(job: &Job) -> Option<PathBuf> {
    let folder = watcher_folder(&lease_folders(), job.claim.as_ref()?).filter(|folder| is_locked(folder))?;
    Some(folder.join(RETRY)).filter(|requests| requests.is_dir())
}

fn key_of_job(job: &Job) -> String {
    job_key(job.group.as_deref().unwrap_or_default(), &job.id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn job(watcher: &str, number: u64) -> Job {
        let claim = Some(JobClaim { number, watcher: watcher.to_owned(), run: None });
        Job { id: "job__pca_1".into(), group: Some("lab".into()), claim, ..Job::default() }
    }

    #[test]
    fn a_lease_is_held_until_the_watcher_loses_the_claim_or_dies() {
        let parent = tempfile::tempdir().unwrap();
        let leases = &parent.path().join("leases");
        let folders = [leases.to_owned()];
        let state = |number| read_state_in(&folders, &job("0a", number));
        assert_eq!(state(1), LeaseState::Held, "nothing is known of another machine's watcher");
        let mut writer = LeaseWriter::create_in(leases, "0a", true).unwrap();
        writer.renew(Duration::from_secs(60)).unwrap();
        assert_eq!(state(1), LeaseState::Held);
        writer.note_superseded("lab", "job__pca_1", 1, true).unwrap();
        assert_eq!(state(1), LeaseState::Superseded { elsewhere: true });
        assert_eq!(state(2), LeaseState::Held, "it has got the submission back");
        writer.renew(Duration::ZERO).unwrap();
        assert!(writer.has_expired());
        assert_eq!(state(2), LeaseState::Expired);
        drop(writer);
        assert_eq!(state(2), LeaseState::Abandoned);
    }

    #[test]
    fn an_id_that_is_a_path_finds_no_lease() {
        let parent = tempfile::tempdir().unwrap();
        let leases = parent.path().join("leases");
        let mut writer = LeaseWriter::create_in(&leases, "0b", true).unwrap();
        writer.renew(Duration::ZERO).unwrap();
        drop(writer);
        for watcher in ["../0b", "", ".", "/0b"] {
            assert_eq!(read_state_in(&[leases.join("0b")], &job(watcher, 1)), LeaseState::Held, "{watcher}");
        }
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_and_not_read() {
        let parent = tempfile::tempdir().unwrap();
        let leases = parent.path().join("leases");
        let mut writer = LeaseWriter::create_in(&leases, "0d", true).unwrap();
        writer.note_superseded("lab", "job__pca_1", 1, true).unwrap();
        let state = || read_state_in(std::slice::from_ref(&leases), &job("0d", 1));
        assert_eq!(state(), LeaseState::Superseded { elsewhere: true });
        for folder in [&leases, parent.path()] {
            let private = fs::metadata(folder).unwrap().permissions();
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            assert_eq!(LeaseWriter::create_in(&leases, "0e", true).unwrap_err().kind, Kind::UnsafePath);
            fs::set_permissions(folder, private).unwrap();
        }
        assert_eq!(state(), LeaseState::Superseded { elsewhere: true });
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_replaced_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("taken"), "").unwrap();
        let folders = [parent.path().join("taken/leases"), parent.path().join("leases")];
        let mut writer = LeaseWriter::create_in_any(&folders, "0f", true).unwrap();
        writer.renew(Duration::ZERO).unwrap();
        assert_eq!(read_state_in(&folders, &job("0f", 1)), LeaseState::Expired);
    }

    #[tokio::test]
    async fn a_job_without_a_lease_on_this_machine_is_not_waited_for() {
        let began = Instant::now();
        let mut placed = job("0a", 1);
        placed.claim.as_mut().unwrap().run = Some(1);
        for job in [placed, job("0000000000000000", 1), Job::default()] {
            assert!(!is_lost_to_another_machine(&job).await);
        }
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn requests_are_taken_once() {
        let parent = tempfile::tempdir().unwrap();
        let leases = parent.path().join("leases");
        let writer = LeaseWriter::create_in(&leases, "0c", true).unwrap();
        let request = RetryRequest {
            group: "lab".into(),
            id: "job__pca_1".into(),
            dataset: 2,
            kind: Kind::BucketUnreachable,
            message: "m".into(),
            has_results: false,
        };
        let path = leases.join("0c/retry/x.json");
        files::write_whole(&path, &serde_json::to_vec(&request).unwrap()).unwrap();
        assert_eq!(writer.take_retry_requests(), [request]);
        assert!(writer.take_retry_requests().is_empty());
    }
}
