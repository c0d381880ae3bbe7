//! The jobs whose end a stage waits for.

use std::cell::{Cell, RefCell};

use super::interruption::{describe_interruption, describe_running, resume_advice};
use crate::outcome::is_reported;
use crate::record::Record;
use crate::record::fields::{Job, RecordFields, StoppedBy};
use crate::tool::{JobCounts, Tool};

/// Counts the jobs whose end a stage waits for.
#[derive(Debug, Default)]
pub struct FollowedJobs {
    counts: Cell<JobCounts>,
    /// The job of the last record.
    last: RefCell<Option<Job>>,
}

impl FollowedJobs {
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

    /// Prints how a record's job has ended, unless an earlier stage has.
    pub fn report(&self, tool: Tool, record: &mut Record, outcome: &str) {
        if !tool.is_quiet() && !is_reported(record) {
            tool.note(outcome);
            record.merge(&RecordFields { outcome_reported: Some(true), ..RecordFields::default() });
            self.change(|counts| {
                counts.ended += 1;
                let stopped_by = record.container().and_then(|container| container.stopped_by);
                let is_cancelled = stopped_by == Some(StoppedBy::Cancelled);
                counts.cancelled += u64::from(is_cancelled);
                counts.failed += u64::from(record.is_failed() && !is_cancelled);
            });
        }
    }

    /// Prints how many jobs have ended, if there were several, or what an interruption means for those that run.
    pub fn note_end(&self, tool: Tool, is_interrupted: bool) {
        let counts = self.counts.get();
        if let Some(total) = counts.total() {
            tool.note(&total);
        }
        // While jobs wait, the stage that starts them says it.
        if is_interrupted && counts.running > 0 && counts.waiting == 0 {
            let advice = resume_advice(self.last.borrow().as_ref());
            tool.note(&describe_interruption([describe_running(counts.running), advice.to_owned()]));
        }
    }

    fn change(&self, change: impl FnOnce(&mut JobCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}
