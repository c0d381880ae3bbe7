//! Claims: which watcher is responsible for a submission.
//!
//! A claim is an object in the job's folder of the bucket. Watchers create it and take it over with conditional writes
//! only, and each time its number rises. A record carries the number and the watcher of the claim under which it was
//! emitted, so a stage can find out that its work has been superseded. The claim stays when the submission has ended,
//! and shows whose folder it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, Key, Version};
use crate::failure::{Failure, Kind, NoneIf, Result};
use crate::layout::{self, CLAIM};
use crate::record::fields::Job;

/// The largest claim that is read, in bytes.
const MAX_SIZE: u64 = 64 << 10;

/// The largest number in a claim. Whoever may write to a group can put any number there, and numbers are raised.
const MAX_NUMBER: u64 = 1 << 48;

/// The largest number of losses in a claim.
const MAX_LOSSES: u32 = 1 << 24;

/// The content of `claim.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Key of the submit file.
    pub submission: String,
    /// Id of the watcher; empty if no watcher has it.
    pub watcher: String,
    /// The watcher's host name and process id, for people.
    pub owner: String,
    /// The watcher's host, as its heartbeat has it.
    #[serde(default)]
    pub host: String,
    /// When it was made or taken over, RFC 3339.
    pub claimed_at: Timestamp,
    /// The attempt at the submission, from 1. `ncaas-submit retry` starts a new one: what an earlier attempt saved does
    /// not count.
    #[serde(default = "first")]
    pub attempt: u64,
    /// Rises each time a watcher claims the submission. Work under a lower number is superseded.
    #[serde(default)]
    pub number: u64,
    /// How many times in this attempt a watcher on another host took it over from one that had died.
    #[serde(default)]
    pub losses: u32,
    /// How many times a scheduler has started the job of each dataset. The work of an earlier run is superseded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<u64, u64>,
}

fn first() -> u64 {
    1
}

impl Claim {
    /// A claim that no watcher has: the next watcher takes it over.
    pub fn free(submission: &str, attempt: u64, number: u64) -> Self {
        Claim {
            submission: submission.to_owned(),
            watcher: String::new(),
            owner: String::new(),
            host: String::new(),
            claimed_at: Timestamp::now(),
            attempt,
            number,
            losses: 0,
            runs: BTreeMap::new(),
        }
    }

    /// Whether no watcher has it.
    pub fn is_free(&self) -> bool {
        self.watcher.is_empty()
    }

    /// Whether its numbers can be raised.
    fn is_plausible(&self) -> bool {
        let mut numbers = [self.attempt, self.number].into_iter().chain(self.runs.values().copied());
        self.losses <= MAX_LOSSES && numbers.all(|number| number <= MAX_NUMBER)
    }

    /// The claim as it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether the work of a job's record has been superseded by another watcher's claim or by a new attempt.
    ///
    /// A scheduler's job outlives the watcher that emitted its record, and the next watcher's placer finds it again.
    /// It is superseded by a later run of the same dataset and by a new attempt only.
    pub fn supersedes(&self, job: &Job) -> bool {
        let Some(own) = &job.claim else { return false };
        match own.run {
            Some(run) => {
                self.attempt > job.attempt_number() || self.runs.get(&job.dataset).is_some_and(|newest| *newest > run)
            }
            // After a claim was deleted, numbers start again: then the watcher distinguishes the two.
            None => self.number > own.number || !self.is_free() && self.watcher != own.watcher,
        }
    }
}

/// The key of a job's claim.
///
/// # Errors
/// [`Kind::BadKey`] if group or job id cannot be part of a key.
pub fn key(group: &str, job_id: &str) -> Result<Key> {
    Key::new(format!("{}{CLAIM}", layout::job_prefix(group, job_id)))
}

/// The claim on a job and its version; none if there is no claim. A claim that is unreadable or has impossible numbers
/// counts as free.
///
/// # Errors
/// If the bucket does not answer.
pub async fn read(bucket: &Bucket, group: &str, job_id: &str) -> Result<Option<(Claim, Version)>> {
    let read = bucket.read(&key(group, job_id)?, MAX_SIZE).await.none_if(&[Kind::ObjectNotFound])?;
    Ok(read.map(|(content, version)| (parse(&content), version)))
}

fn parse(content: &[u8]) -> Claim {
    let claim = serde_json::from_slice(content).ok().filter(Claim::is_plausible);
    claim.unwrap_or_else(|| Claim::free("", 1, 0))
}

/// Frees the claim on a job if `is_own` accepts it: the next watcher takes it over at once.
///
/// # Errors
/// If the bucket does not answer.
pub async fn release(bucket: &Bucket, group: &str, job_id: &str, is_own: impl Fn(&Claim) -> bool) -> Result<()> {
    let Some((claim, version)) = read(bucket, group, job_id).await? else { return Ok(()) };
    if claim.is_free() || !is_own(&claim) {
        return Ok(());
    }
    let free = Claim { watcher: String::new(), owner: String::new(), host: String::new(), ..claim };
    // A claim that changed meanwhile belongs to another watcher.
    bucket.put_if(&key(group, job_id)?, free.to_bytes(), &version).await.map(drop)
}

/// Makes sure that a record's work still counts. A record that no watcher emitted always counts, and so does one whose
/// claim is gone.
///
/// # Errors
/// [`Kind::Superseded`] if another watcher now has the submission; a failure of the bucket.
pub async fn check_current(bucket: &Bucket, job: &Job) -> Result<()> {
    let (Some(group), Some(_)) = (&job.group, &job.claim) else { return Ok(()) };
    match read(bucket, group, &job.id).await? {
        Some((claim, _)) if claim.supersedes(job) => Err(superseded(&job.id, &claim.owner)),
        _ => Ok(()),
    }
}

/// Numbers a new run of a placed job's dataset in the claim, and in `job`. Earlier runs are superseded from then on. A
/// job that no watcher emitted has no claim, and gets no number.
///
/// # Errors
/// [`Kind::Superseded`] if a new attempt at the submission has begun; a failure of the bucket.
pub async fn start_run(bucket: &Bucket, job: &mut Job) -> Result<()> {
    let Some(group) = job.group.clone() else { return Ok(()) };
    let attempt = job.attempt_number();
    loop {
        let (Some(own), Some((mut claim, version))) = (&mut job.claim, read(bucket, &group, &job.id).await?) else {
            return Ok(());
        };
        if claim.attempt > attempt {
            return Err(superseded(&job.id, &claim.owner));
        }
        let run = claim.runs.get(&job.dataset).copied().unwrap_or(0) + 1;
        claim.runs.insert(job.dataset, run);
        if bucket.put_if(&key(&group, &job.id)?, claim.to_bytes(), &version).await?.is_some() {
            own.run = Some(run);
            return Ok(());
        }
    }
}

fn superseded(id: &str, owner: &str) -> Failure {
    let by = if owner.is_empty() { "a new attempt".to_owned() } else { format!("the watcher `{owner}`") };
    Failure::new(Kind::Superseded, format!("`{id}` has been taken over by {by}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fields::JobClaim;

    #[test]
    fn a_claim_with_numbers_that_cannot_be_raised_is_free() {
        let claim = Claim { watcher: "w".to_owned(), ..Claim::free("lab/submissions/submit.json", 2, 5) };
        assert_eq!(parse(&claim.to_bytes()), claim);
        let absurd = [
            Claim { number: u64::MAX, ..claim.clone() },
            Claim { attempt: u64::MAX, ..claim.clone() },
            Claim { losses: u32::MAX, ..claim.clone() },
            Claim { runs: BTreeMap::from([(1, u64::MAX)]), ..claim },
        ];
        for claim in absurd {
            let parsed = parse(&claim.to_bytes());
            assert!(parsed.is_free() && parsed.number == 0, "{claim:?}");
        }
    }

    #[test]
    fn another_watchers_claim_supersedes_whatever_its_number() {
        let claim = JobClaim { number: 5, watcher: "0a".to_owned(), run: None };
        let job = Job { claim: Some(claim), ..Job::default() };
        let of_watcher = |watcher: &str, number: u64| {
            let free = Claim::free("lab/submissions/submit.json", 1, number);
            Claim { watcher: watcher.to_owned(), ..free }.supersedes(&job)
        };
        let table =
            [("0a", 5, false), ("0a", 6, true), ("0b", 5, true), ("0b", 1, true), ("", 5, false), ("", 6, true)];
        for (watcher, number, expected) in table {
            assert_eq!(of_watcher(watcher, number), expected, "{watcher} {number}");
        }
    }

    #[test]
    fn a_later_claim_run_or_attempt_supersedes() {
        let job = |number, run, attempt| Job {
            dataset: 2,
            attempt,
            claim: Some(JobClaim { number, watcher: String::new(), run }),
            ..Job::default()
        };
        let mut claim = Claim::free("lab/submissions/submit.json", 2, 5);
        claim.runs.insert(2, 3);
        let table = [
            // The record's claim number, run and attempt -> is it superseded?
            (5, None, Some(2), false),
            (4, None, Some(2), true),
            (4, Some(3), Some(2), false),
            (5, Some(2), Some(2), true),
            (5, Some(3), None, true),
        ];
        for (number, run, attempt, expected) in table {
            assert_eq!(claim.supersedes(&job(number, run, attempt)), expected, "{number} {run:?} {attempt:?}");
        }
        assert!(!claim.supersedes(&Job::default()), "a job that no watcher emitted");
    }
}
