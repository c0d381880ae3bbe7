//! From a submit file that was found to the records that are handed on: read, claim, check, hand on, in this order.
//!
//! Whatever fails in between leaves a claim at most, under which the same watcher, or after its end another, begins again.

use std::collections::hash_map::Entry;

use jiff::{SignedDuration, Timestamp};
use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{self, CANCEL, END, PROCESS_RESULTS, SUBMIT};
use ncaas_core::pipe::Output;
use ncaas_core::record::fields::{Job, Known};

use super::Watch;
use super::claim::{self, Claimed};
use super::found::Found;
use crate::rules;
use crate::setup::SetupLog;
use crate::submission::{self, Reach, Submission};

/// For how long after its last change a file in a directory that is no JSON is taken for one that is still being written.
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
}

/// What came of making a job ours.
enum Taken {
    Ours,
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
                self.id_of_refused(key)
            }
            None => self.id_of_refused(key),
        };
        let mut taken = self.take(&job.id, found, &mut log).await?;
        if let Taken::OfAnother(other) = &taken {
            // The other's folder is not touched: the refusal gets one of its own.
            submission.reasons.push(format!("`timestamp` is that of another submission, `{other}`"));
            job.id = self.id_of_refused(key);
            taken = self.take(&job.id, found, &mut log).await?;
        }
        match taken {
            Taken::Ours => {}
            Taken::Not(outcome) => return Ok(outcome),
            Taken::OfAnother(_) => return Ok(Outcome::Settled),
        }
        let handed_on = self.hand_on(&mut submission, &job, log, output).await;
        if handed_on.is_err() {
            self.let_go(&job.id, key.group());
        }
        handed_on.map(|()| Outcome::HandedOn)
    }

    /// Reads a submit file; none where it has gone.
    async fn read(&self, found: &Found) -> Result<Option<Submission>> {
        let reach = Reach::new(self.bucket.address(), found.key.group(), &self.bypass);
        match self.bucket.read(&found.key, submission::LARGEST).await {
            Ok((content, _)) => Ok(Some(Submission::read(&content, &reach))),
            Err(failure) if failure.kind == Kind::ObjectNotFound => Ok(None),
            Err(failure) if failure.kind.may_pass() => Err(failure),
            Err(failure) => Ok(Some(Submission::refused(failure.message))),
        }
    }

    /// An object is there whole or not at all; a file that another program writes grows.
    async fn is_being_written(&self, found: &Found) -> Result<bool> {
        if self.bucket.as_s3().is_some() {
            return Ok(false);
        }
        let entry = self.bucket.head(&found.key).await?;
        Ok(entry.is_some_and(|entry| Timestamp::now().duration_since(entry.modified).abs() < SETTLING))
    }

    /// The job's id of a submission that has no usable timestamp: made from the submit file's name.
    fn id_of_refused(&self, key: &Key) -> String {
        let name = key.base_name();
        let stem = name.strip_suffix(SUBMIT).unwrap_or(name).trim_end_matches(['_', '-', '.']);
        let stem = if stem.is_empty() { "submit" } else { stem };
        let hash = layout::short_hash(key.as_str());
        let analysis = self.bucket.name();
        // The name alone can be too long, or hold what a job's id may not.
        layout::job_id(analysis, &format!("{stem}_{hash}"))
            .unwrap_or_else(|_| format!("job__{analysis}_refused_{hash}"))
    }

    /// Makes a job ours, if it has not ended and is nobody else's.
    async fn take(&self, id: &str, found: &Found, log: &mut SetupLog) -> Result<Taken> {
        let (key, group) = (&found.key, found.key.group());
        let claim_key = claim::key(group, id)?;
        let end = Key::new(format!("{}{PROCESS_RESULTS}/{END}", layout::job_prefix(group, id)))?;
        if self.bucket.head(&end).await?.is_some() {
            return match claim::read(&self.bucket, &claim_key).await? {
                Some(claim) if claim.submission != key.as_str() => Ok(Taken::OfAnother(claim.submission)),
                _ => Ok(Taken::Not(Outcome::Settled)),
            };
        }
        // In hand before it is claimed: of two that look into the same file at once here, one goes on.
        if let Some(other) = self.take_in_hand(id, found) {
            if other == *key {
                return Ok(Taken::Not(Outcome::HandedOn));
            }
            return Ok(match claim::read(&self.bucket, &claim_key).await? {
                Some(claim) if claim.submission != key.as_str() => Taken::OfAnother(claim.submission),
                // Another submission of the same timestamp is being looked into: who has it shows when that is done.
                _ => Taken::Not(Outcome::NotYet),
            });
        }
        let claimed = claim::claim(&self.bucket, &claim_key, key, &self.watchers).await;
        let owner = self.watchers.owner();
        let not = match claimed {
            // Before, and yet not in hand: the answer to our own request was lost, or what came after it failed.
            Ok(Claimed::Now | Claimed::Before) => {
                log.note(format!("claimed it as `{id}` for {owner}"));
                return Ok(Taken::Ours);
            }
            Ok(Claimed::TakenOver { from }) => match self.bucket.head(&end).await {
                Ok(None) => {
                    log.note(format!("claimed it as `{id}` for {owner}, after {from} had ended"));
                    return Ok(Taken::Ours);
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
                self.tool.complain(&failure.context(format!("`{}`", job.submission.as_deref().unwrap_or_default())));
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

    /// Notes that a job is in this watcher's hands. If it was before, nothing changes, and the submission is told.
    fn take_in_hand(&self, id: &str, found: &Found) -> Option<Key> {
        match self.in_hand.borrow_mut().entry((found.key.group().to_owned(), id.to_owned())) {
            Entry::Occupied(taken) => Some(taken.get().clone()),
            Entry::Vacant(free) => {
                free.insert(found.key.clone());
                None
            }
        }
    }

    pub(super) fn let_go(&self, id: &str, group: &str) {
        self.in_hand.borrow_mut().remove(&(group.to_owned(), id.to_owned()));
    }
}
