//! From a submit file to the records of its datasets: read, claim, validate, emit, in this order.
//!
//! A failure in between leaves at most a claim, under which the same watcher, or another one later, starts again.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use ncaas_core::cancellation;
use ncaas_core::claim::{self, Claim};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout;
use ncaas_core::lease::RetryRequest;
use ncaas_core::pipe::Output;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, JobClaim, RecordFields};
use ncaas_core::text;

use super::claims::{Claiming, Outcome, claim_job};
use super::session::WatchSession;
use super::submit_queue::QueuedFile;
use crate::bucket_job::{self, ResultsFolder};
use crate::setup_log::SetupLog;
use crate::submission::{AllowedKeys, Submission};
use crate::validation;
use crate::watchers::process;

/// A file with incomplete JSON counts as still being written until this long after its last change, because its writer
/// may be invisible from here.
const SETTLING: SignedDuration = SignedDuration::from_secs(2);

/// How many status files are written at once.
const STATUS_FILES_AT_ONCE: usize = 16;

/// A submission that was read, and its job.
struct CheckedSubmission {
    submission: Submission,
    job: Job,
    results: ResultsFolder,
}

impl CheckedSubmission {
    async fn claim(
        &self,
        session: &WatchSession,
        found: &QueuedFile,
        may_claim: bool,
        log: &mut SetupLog,
    ) -> Result<Claiming> {
        let (id, datasets) = (&self.job.id, self.submission.datasets.len());
        claim_job(session, &found.key, id, datasets, &self.results, may_claim, log).await
    }
}

/// Reads a submit file, and if the submission is unfinished and `may_claim`, claims it and emits its records. After a
/// failure, calling it again repeats no work.
pub(crate) async fn process(
    session: &WatchSession,
    found: &QueuedFile,
    may_claim: bool,
    output: &Output,
) -> Result<Outcome> {
    let ticket = may_claim.then(|| session.order.ticket(found.key.group()));
    let Some(submission) = read(session, found).await? else { return Ok(Outcome::NothingToDo) };
    if !submission.is_json && is_being_written(session, found).await? {
        return Ok(Outcome::NotReady);
    }
    let mut log = SetupLog::default();
    log.add_at(found.noticed, format!("noticed `{}` ({})", found.key, found.how));
    let mut candidate = prepare(session, found, submission).await?;
    let mut claiming = candidate.claim(session, found, may_claim, &mut log).await?;
    if let Claiming::OtherSubmission(other) = &claiming {
        // The other submission's folder is not touched: the refusal gets another folder.
        candidate.submission.reasons.push(format!("`timestamp` is already used by the submission `{other}`"));
        candidate.job.id = bucket_job::id_without_timestamp(&session.bucket, &found.key);
        candidate.results = find_results(session, &candidate.job, &mut candidate.submission).await?;
        claiming = candidate.claim(session, found, may_claim, &mut log).await?;
    }
    let claim = match claiming {
        Claiming::Ours(claim) => claim,
        Claiming::Not(outcome) => return Ok(outcome),
        Claiming::OtherSubmission(_) => return Ok(Outcome::NothingToDo),
    };
    let CheckedSubmission { mut submission, mut job, results } = candidate;
    let (group, id) = (found.key.group().to_owned(), job.id.clone());
    set_claim(&mut job, &claim);
    let emitted = async {
        let records = make_records(session, &mut submission, &results, &job, &claim, log).await?;
        if let Some(ticket) = &ticket {
            ticket.wait_for_turn().await;
        }
        emit(session, &job, &records, output).await;
        Ok(())
    };
    let emitted = emitted.await;
    match &emitted {
        Ok(()) => session.update(&group, &id, |job| job.is_emitted = true),
        Err(_) => session.release(&group, &id),
    }
    emitted.map(|()| Outcome::Emitted)
}

/// Gives a job the claim under which it is emitted.
fn set_claim(job: &mut Job, claim: &Claim) {
    job.attempt = (claim.attempt > 1).then_some(claim.attempt);
    job.claim = Some(JobClaim { number: claim.number, watcher: claim.watcher.clone(), run: None });
}

/// Emits the record of one dataset again, because a later stage has asked for it.
pub(crate) async fn emit_again(session: &WatchSession, found: &QueuedFile, output: &Output) -> Result<Outcome> {
    let Some(request) = &found.retry else { return Ok(Outcome::NothingToDo) };
    let name = (request.group.clone(), request.id.clone());
    let Some(held) = session.claimed.borrow().get(&name).cloned() else { return Ok(Outcome::NothingToDo) };
    let Some(submission) = read(session, found).await? else { return Ok(Outcome::NothingToDo) };
    let CheckedSubmission { submission, mut job, results } = prepare(session, found, submission).await?;
    if job.id != request.id || results.ended_at().await?.is_some() {
        return Ok(Outcome::NothingToDo);
    }
    let claim = match claim::read(&session.bucket, &request.group, &request.id).await? {
        Some((claim, _)) if claim.watcher == session.watchers.id() => claim,
        _ => return Ok(Outcome::NothingToDo),
    };
    set_claim(&mut job, &claim);
    let tried = held.retries.get(&request.dataset).copied().unwrap_or_default();
    for mut record in submission.records(&job, session.tool.name()) {
        if record.job().is_some_and(|job| job.dataset == request.dataset) {
            if !is_unlimited(request) && tried > session.retries {
                let message = format!("`{}` failed {}: {}", request.id, format_count(tried, "time"), request.message);
                record.fail(session.tool.name(), &Failure::new(Kind::Lost, message));
            }
            output.emit(&record).await;
        }
    }
    Ok(Outcome::Emitted)
}

/// Whether a job is retried until its bucket, engine or disk is back: nothing is wrong with the job.
fn is_unlimited(request: &RetryRequest) -> bool {
    use Kind::{BucketError, BucketNotFound, BucketUnreachable, EngineUnreachable};
    request.has_results || matches!(request.kind, BucketUnreachable | BucketNotFound | BucketError | EngineUnreachable)
}

async fn read(session: &WatchSession, found: &QueuedFile) -> Result<Option<Submission>> {
    let reach = AllowedKeys::new(session.bucket.address(), found.key.group(), &session.bypass);
    Submission::load(&session.bucket, &found.key, &reach).await
}

/// Whether a submit file is still being written. On S3 an object is complete or does not exist.
async fn is_being_written(session: &WatchSession, found: &QueuedFile) -> Result<bool> {
    if session.bucket.as_s3().is_some() {
        return Ok(false);
    }
    let entry = session.bucket.head(&found.key).await?;
    let is_young = entry.is_some_and(|entry| Timestamp::now().duration_since(entry.modified).abs() < SETTLING);
    let path = Path::new(session.bucket.address()).join(found.key.as_str());
    Ok(is_young || process::is_open_for_writing(&path))
}

/// Determines the job of a submission, and where its results go.
async fn prepare(session: &WatchSession, found: &QueuedFile, mut submission: Submission) -> Result<CheckedSubmission> {
    let id = match submission.timestamp.as_deref().map(|timestamp| layout::job_id(session.bucket.name(), timestamp)) {
        Some(Ok(id)) => id,
        refused => {
            submission.reasons.extend(refused.and_then(Result::err).map(|failure| failure.message));
            bucket_job::id_without_timestamp(&session.bucket, &found.key)
        }
    };
    let job = bucket_job::submitted_job(&session.bucket, &found.key, id, submission.timestamp.clone());
    let results = find_results(session, &job, &mut submission).await?;
    Ok(CheckedSubmission { submission, job, results })
}

/// Where the job's results go. A `resultpath` in a bucket that does not exist is a reason for a refusal.
async fn find_results(session: &WatchSession, job: &Job, submission: &mut Submission) -> Result<ResultsFolder> {
    let group = job.group.as_deref().unwrap_or_default();
    let WatchSession { bucket, buckets, .. } = session;
    match ResultsFolder::find(buckets, bucket, group, &job.id, submission.result_path.as_deref()).await {
        Err(failure) if failure.kind == Kind::BucketNotFound && submission.result_path.is_some() => {
            submission.reasons.push(format!("`resultpath`: {failure}"));
            submission.result_path = None;
            ResultsFolder::find(buckets, bucket, group, &job.id, None).await
        }
        folder => folder,
    }
}

/// Validates a submission that is ours, and makes its records.
async fn make_records(
    session: &WatchSession,
    submission: &mut Submission,
    results: &ResultsFolder,
    job: &Job,
    claim: &Claim,
    mut log: SetupLog,
) -> Result<Vec<Record>> {
    let datanames: Vec<String> = submission.datasets.iter().map(|name| name.as_str().to_owned()).collect();
    let has_run_before = results.earlier_attempt(claim.attempt).await?.is_some();
    if !has_run_before {
        results.create_certificate(&datanames, &log.events()).await?;
    }
    validation::validate(submission, &session.bucket, &mut log).await?;
    let is_cancelled = cancellation::is_cancelled(&session.bucket, job).await?;
    // The earlier run gives way to one that begins. On a terminal none does.
    let begins = submission.reasons.is_empty() && !is_cancelled && !io::stdout().is_terminal();
    if has_run_before && begins {
        results.remove_run().await?;
        results.create_certificate(&datanames, &log.events()).await?;
    }
    let failure = if is_cancelled {
        log.add("cancelled before its records were emitted");
        Some(Failure::new(Kind::Cancelled, format!("`{}` was cancelled", job.id)))
    } else if claim.losses > session.retries {
        log.add("given up");
        let losses = format_count(claim.losses, "time");
        let message = format!("`{}` was lost {losses} with the machine that ran it", job.id);
        let target = format!("{}/{}", session.bucket.address(), job.group.as_deref().unwrap_or_default());
        let retry = text::shell_line(["ncaas-submit", "retry", &target, &job.id]);
        Some(Failure::new(Kind::Lost, message).hint(format!("`{retry}` runs it again")))
    } else {
        None
    };
    let mut records = submission.records(job, session.tool.name());
    if !submission.is_accepted() {
        log.add("refused it");
    } else if failure.is_none() {
        log.add(format!("emitted {}", format_count(records.len(), "record")));
    }
    if failure.is_none() && submission.is_accepted() {
        let jobs = records.iter().filter_map(|record| record.job()?.label);
        let files =
            jobs.zip(&datanames).map(|(label, name)| async move { results.create_status_file(&label, name).await });
        stream::iter(files).buffer_unordered(STATUS_FILES_AT_ONCE).try_collect::<Vec<()>>().await?;
    }
    for record in &mut records {
        record.merge(&RecordFields { setup: Some(log.events()), ..RecordFields::default() });
        if let Some(failure) = failure.as_ref().filter(|_| !record.has_error()) {
            record.fail(session.tool.name(), failure);
        }
    }
    Ok(records)
}

/// Emits the records of a submission. One message is printed for all datasets that fail for the same reason.
async fn emit(session: &WatchSession, job: &Job, records: &[Record], output: &Output) {
    let mut reported = BTreeSet::new();
    for record in records {
        if let Some(error) = record.error() {
            let failure = Failure { kind: error.kind, message: error.message, hint: error.hint };
            let submission = job.submission.as_deref().unwrap_or_default();
            if reported.insert(failure.message.clone()) {
                output.report_failure(session.tool, &failure.context(format!("`{}`", text::one_line(submission))));
            } else {
                output.note_failure(&failure);
            }
        }
        output.emit(record).await;
    }
}
