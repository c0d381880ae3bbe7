//! From a submit file that was found to the records that are handed on: read, claim, check, hand on, in this order.
//!
//! Whatever fails in between leaves a claim at most, under which the same watcher, or after its end another, begins again.

use std::collections::hash_map::Entry;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{self, CANCEL, SUBMIT_SUFFIX};
use ncaas_core::pipe::Output;
use ncaas_core::record::fields::{Job, Known};

use super::claiming::{self, Claimed};
use super::found::Found;
use super::{InHand, Watch, process};
use crate::claim;
use crate::job::Folder;
use crate::rules;
use crate::setup::SetupLog;
use crate::submission::{self, Reach, Submission};

/// For how long after its last change a file in a directory that is no JSON is taken for one that is still being written,
/// by a process that this one cannot look into.
const SETTLING: SignedDuration = SignedDuration::from_secs(2);

/// What came of looking into a submit file.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// Handed on, now or before, by this watcher.
    HandedOn,
    /// Nothing is to be done: its job has ended, or the file has gone.
    Settled,
    /// Another watcher has it.
    Elsewhere(String),
    /// It is still being written.
    NotYet,
    /// It is to be looked into once more, from the beginning.
    Again,
}

/// What came of making a job ours.
enum Taken {
    Ours { attempt: u64 },
    OfAnother(String),
    Not(Outcome),
}

impl Watch {
    /// Looks into a submit file, and hands on what it asks for.
    ///
    /// # Errors
    /// When the bucket fails. The same again later does no work twice.
    pub(super) async fn examine(&self, found: &Found, output: &Output) -> Result<Outcome> {
        let key = &found.key;
        let Some(mut submission) = self.read(found).await? else { return Ok(Outcome::Settled) };
        if !submission.is_json && self.is_being_written(found).await? {
            return Ok(Outcome::NotYet);
        }
        let mut log = SetupLog::default();
        log.note_at(found.noticed, format!("noticed `{key}` ({})", found.how));
        let mut job = Job {
            bucket: Some(self.bucket.address().to_owned()),
            group: Some(key.group().to_owned()),
            submission: Some(key.as_str().to_owned()),
            timestamp: submission.timestamp.clone(),
            ..Job::default()
        };
        job.id = match submission.timestamp.as_deref().map(|timestamp| layout::job_id(self.bucket.name(), timestamp)) {
            Some(Ok(id)) => id,
            Some(Err(failure)) => {
                submission.reasons.push(failure.message);
                id_of_refused(&self.bucket, key)
            }
            None => id_of_refused(&self.bucket, key),
        };
        let mut results = self.results(&job, &mut submission).await?;
        let mut taken = self.take(&job.id, &results, found, &mut log).await?;
        if let Taken::OfAnother(other) = &taken {
            // The other's folder is not touched: the refusal gets one of its own.
            submission.reasons.push(format!("`timestamp` is that of another submission, `{other}`"));
            job.id = id_of_refused(&self.bucket, key);
            results = self.results(&job, &mut submission).await?;
            taken = self.take(&job.id, &results, found, &mut log).await?;
        }
        match taken {
            Taken::Ours { attempt } => job.attempt = (attempt > 1).then_some(attempt),
            Taken::Not(outcome) => return Ok(outcome),
            Taken::OfAnother(_) => return Ok(Outcome::Settled),
        }
        let handed_on = self.hand_on(&mut submission, &job, log, output).await;
        if handed_on.is_err() {
            self.let_go(&job.id, key.group());
        } else if let Some(held) = self.in_hand.borrow_mut().get_mut(&(key.group().to_owned(), job.id.clone())) {
            held.handed_on = true;
        }
        handed_on.map(|()| Outcome::HandedOn)
    }

    /// Reads a submit file; none where it has gone.
    async fn read(&self, found: &Found) -> Result<Option<Submission>> {
        let reach = Reach::new(self.bucket.address(), found.key.group(), &self.bypass);
        match self.bucket.read(&found.key, submission::LARGEST).await {
            Ok((content, _)) => Ok(Some(Submission::read(&content, &reach))),
            Err(failure) if failure.kind == Kind::ObjectNotFound => Ok(None),
            Err(failure) if failure.kind.is_transient() => Err(failure),
            Err(failure) => Ok(Some(Submission::refused(failure.message))),
        }
    }

    /// An object is there whole or not at all; a file that another program writes grows.
    async fn is_being_written(&self, found: &Found) -> Result<bool> {
        if self.bucket.as_s3().is_some() {
            return Ok(false);
        }
        let entry = self.bucket.head(&found.key).await?;
        let is_young =
            |entry: ncaas_core::bucket::Entry| Timestamp::now().duration_since(entry.modified).abs() < SETTLING;
        let path = Path::new(self.bucket.address()).join(found.key.as_str());
        Ok(entry.is_some_and(is_young) || process::is_written_to(&path))
    }

    /// Where the job's results go. A `resultpath` that leads nowhere is a reason against the submission.
    async fn results(&self, job: &Job, submission: &mut Submission) -> Result<Folder> {
        let group = job.group.as_deref().unwrap_or_default();
        match Folder::of(&self.bucket, group, &job.id, submission.result_path.as_deref()).await {
            Err(failure) if failure.kind == Kind::BucketNotFound && submission.result_path.is_some() => {
                submission.reasons.push(format!("`resultpath`: {failure}"));
                submission.result_path = None;
                Folder::of(&self.bucket, group, &job.id, None).await
            }
            folder => folder,
        }
    }

    /// Makes a job ours, if it has not ended and is nobody else's.
    async fn take(&self, id: &str, results: &Folder, found: &Found, log: &mut SetupLog) -> Result<Taken> {
        let (key, group) = (&found.key, found.key.group());
        let claim_key = claim::key(group, id)?;
        if results.ended_at().await?.is_some() {
            return match claim::read(&self.bucket, &claim_key).await? {
                Some(claim) if claim.submission != key.as_str() => Ok(Taken::OfAnother(claim.submission)),
                _ => Ok(Taken::Not(Outcome::Settled)),
            };
        }
        // In hand before it is claimed: of two that look into the same file at once here, one goes on.
        if let Some(other) = self.take_in_hand(id, results, found) {
            if other == *key && !self.was_given_back(id, group, &claim_key).await? {
                return Ok(Taken::Not(Outcome::HandedOn));
            }
            if other == *key {
                self.let_go(id, group);
                return Ok(Taken::Not(Outcome::Again));
            }
            return Ok(match claim::read(&self.bucket, &claim_key).await? {
                Some(claim) if claim.submission != key.as_str() => Taken::OfAnother(claim.submission),
                // Another submission of the same timestamp is being looked into: who has it shows when that is done.
                _ => Taken::Not(Outcome::NotYet),
            });
        }
        let claimed = claiming::claim(&self.bucket, &claim_key, key, &self.watchers).await;
        let owner = self.watchers.owner();
        let not = match claimed {
            Ok(Claimed::Now { attempt }) => {
                log.note(format!("claimed it as `{id}` for {owner}"));
                return Ok(Taken::Ours { attempt });
            }
            // It may have ended since this was looked up.
            Ok(Claimed::TakenOver { from, attempt }) => match results.ended_at().await {
                Ok(None) => {
                    log.note(format!("claimed it as `{id}` for {owner}, after {from} had ended"));
                    return Ok(Taken::Ours { attempt });
                }
                Ok(Some(_)) => Ok(Taken::Not(Outcome::Settled)),
                Err(failure) => Err(failure),
            },
            Ok(Claimed::Elsewhere { watcher }) => Ok(Taken::Not(Outcome::Elsewhere(watcher))),
            Ok(Claimed::OfAnother { submission }) => Ok(Taken::OfAnother(submission)),
            Err(failure) => Err(failure),
        };
        self.let_go(id, group);
        not
    }

    /// Checks a submission that is ours, and hands it on.
    async fn hand_on(&self, submission: &mut Submission, job: &Job, mut log: SetupLog, output: &Output) -> Result<()> {
        rules::check(submission, &self.bucket, &mut log).await?;
        let cancelled = self.cancelled(job).await?;
        let mut records = submission.records(job, self.tool.name());
        match (submission.refusal(), &cancelled) {
            (Some(_), _) => log.note("refused it"),
            (None, Some(_)) => log.note("cancelled before it was handed on"),
            (None, None) => log.note(format!("handed on {} dataset(s)", records.len())),
        }
        for record in &mut records {
            record.merge(&Known { setup: Some(log.events()), ..Known::default() });
            if let Some(failure) = cancelled.as_ref().filter(|_| !record.has_error()) {
                record.fail(self.tool.name(), failure);
            }
            if let Some(error) = record.error() {
                let failure = Failure { kind: error.kind, message: error.message, hint: error.hint };
                self.tool
                    .report_failure(&failure.context(format!("`{}`", job.submission.as_deref().unwrap_or_default())));
            }
            output.emit(record).await;
        }
        Ok(())
    }

    async fn cancelled(&self, job: &Job) -> Result<Option<Failure>> {
        let group = job.group.as_deref().unwrap_or_default();
        let key = Key::new(format!("{}{CANCEL}", layout::job_prefix(group, &job.id)))?;
        let cancelled = self.bucket.head(&key).await?;
        Ok(cancelled.map(|_| Failure::new(Kind::Cancelled, format!("`{}` was cancelled", job.id))))
    }

    /// Whether a job that this watcher has handed on is its own no more: somebody wants it tried again.
    pub(super) async fn was_given_back(&self, id: &str, group: &str, claim_key: &Key) -> Result<bool> {
        let place = (group.to_owned(), id.to_owned());
        if !self.in_hand.borrow().get(&place).is_some_and(|held| held.handed_on) {
            return Ok(false);
        }
        let claim = claim::read(&self.bucket, claim_key).await?;
        Ok(claim.is_none_or(|claim| claim.watcher != self.watchers.id()))
    }

    /// Notes that a job is in this watcher's hands. If it was before, nothing changes, and the submission is told.
    fn take_in_hand(&self, id: &str, results: &Folder, found: &Found) -> Option<Key> {
        match self.in_hand.borrow_mut().entry((found.key.group().to_owned(), id.to_owned())) {
            Entry::Occupied(taken) => Some(taken.get().submission.clone()),
            Entry::Vacant(free) => {
                free.insert(InHand { submission: found.key.clone(), results: results.clone(), handed_on: false });
                None
            }
        }
    }

    pub(super) fn let_go(&self, id: &str, group: &str) {
        self.in_hand.borrow_mut().remove(&(group.to_owned(), id.to_owned()));
    }
}

/// The job's id of a submission that has no usable timestamp: made from the submit file's name.
pub(crate) fn id_of_refused(bucket: &Bucket, key: &Key) -> String {
    let name = key.base_name();
    let stem = name.strip_suffix(SUBMIT_SUFFIX).unwrap_or(name).trim_end_matches(['_', '-', '.']);
    let stem = if stem.is_empty() { "submit" } else { stem };
    let hash = layout::short_hash(key.as_str());
    let analysis = bucket.name();
    // The name alone can be too long, or hold what a job's id may not.
    layout::job_id(analysis, &format!("{stem}_{hash}")).unwrap_or_else(|_| format!("job__{analysis}_refused_{hash}"))
}
