//! The jobs whose end a stage sees.

use std::cell::{Cell, OnceCell, RefCell};

use super::interruption::{describe_interruption, describe_running, resume_advice};
use super::later_stages::LaterStages;
use crate::outcome::is_reported;
use crate::record::Record;
use crate::record::fields::{Job, RecordFields, Status, StoppedBy};
use crate::tool::{JobCounts, Tool};

/// Counts the jobs whose end a stage sees, and reports each end once in a pipe.
#[derive(Debug, Default)]
pub struct FollowedJobs {
    counts: Cell<JobCounts>,
    later: OnceCell<LaterStages>,
    /// Whether the total contains jobs whose end an earlier stage has reported.
    counts_reported: bool,
    /// The job of the last record.
    last: RefCell<Option<Job>>,
}

impl FollowedJobs {
    /// For the last stage of a pipe that reports ends: its total contains those that earlier stages have reported.
    pub fn with_reported() -> Self {
        FollowedJobs { counts_reported: true, ..FollowedJobs::default() }
    }

    /// The numbers of jobs at this moment.
    pub fn counts(&self) -> JobCounts {
        self.counts.get()
    }

    /// Counts a record that has arrived. Removes from it the number of jobs that wait for their start, which is true
    /// only now.
    pub fn note_record(&self, record: &mut Record) {
        self.last.replace(record.job());
        let waiting = record.fields().ok().and_then(|known| known.jobs_waiting).unwrap_or_default();
        record.remove("jobs_waiting");
        self.change(|counts| counts.waiting = waiting);
    }

    /// Does the work until the end of a job.
    pub async fn follow<T>(&self, work: impl Future<Output = T>) -> T {
        self.change(|counts| counts.running += 1);
        let done = work.await;
        self.change(|counts| counts.running -= 1);
        done
    }

    /// Whether this stage reports how a record's job has ended: no earlier stage has, and no later one knows more. A
    /// failure is reported when its log is known: it does not wait for the results.
    pub fn reports_end(&self, tool: Tool, record: &Record) -> bool {
        let later = self.later();
        let is_failed = !has_succeeded(record);
        !is_reported(record) && (is_failed || !tool.is_quiet() && !later.collects) && !later.saves
    }

    /// Counts a job that has ended, and prints how, if this stage reports it.
    pub fn report(&self, tool: Tool, record: &mut Record, outcome: &str) {
        if self.counts_reported || !is_reported(record) {
            self.change(|counts| {
                counts.ended += 1;
                let stopped_by = record.container().and_then(|container| container.stopped_by);
                let is_cancelled = stopped_by == Some(StoppedBy::Cancelled);
                counts.cancelled += u64::from(is_cancelled);
                counts.failed += u64::from(!has_succeeded(record) && !is_cancelled);
            });
        }
        if self.reports_end(tool, record) {
            if has_succeeded(record) {
                tool.note(outcome);
            } else {
                tool.note_failure(outcome);
            }
            record.merge(&RecordFields { outcome_reported: Some(true), ..RecordFields::default() });
        }
    }

    /// Prints how many jobs have ended, if there were several and no later stage does, or what an interruption means
    /// for those that run.
    pub fn note_end(&self, tool: Tool, is_interrupted: bool) {
        let counts = self.counts.get();
        let later = self.later();
        if let Some(total) = counts.total().filter(|_| !later.saves && !later.collects) {
            tool.note(&total);
        }
        // While jobs wait, the stage that starts them says it.
        if is_interrupted && counts.running > 0 && counts.waiting == 0 {
            let advice = resume_advice(self.last.borrow().as_ref());
            tool.note(&describe_interruption([describe_running(counts.running), advice]));
        }
    }

    /// Whether `ncaas-logs save` follows the jobs later in the pipe.
    pub fn is_followed_later(&self) -> bool {
        self.later().saves
    }

    fn later(&self) -> LaterStages {
        *self.later.get_or_init(LaterStages::find)
    }

    fn change(&self, change: impl FnOnce(&mut JobCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

/// Whether an ended job has succeeded. One whose exit code is not known has not.
fn has_succeeded(record: &Record) -> bool {
    !record.is_failed() && record.container().is_some_and(|container| container.status == Some(Status::Success))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_a_status_is_not_counted_as_a_success() {
        let jobs = FollowedJobs::default();
        for status in [r#","status":"success""#, ""] {
            let line = format!(r#"{{"dataname":"a","container":{{"id":"x","state":"exited"{status}}}}}"#);
            jobs.report(Tool::named("t"), &mut Record::parse(line.as_bytes()).unwrap(), "a ended");
        }
        assert_eq!(jobs.counts().total().as_deref(), Some("2 jobs ended: 1 succeeded, 1 failed"));
    }
}
