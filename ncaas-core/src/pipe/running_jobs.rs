//! The jobs that a stage left alone because they were still running.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::interruption::COMPLETE_JOBS;
use super::later_stages::LaterStages;
use super::output::Output;
use crate::quantity::format_count;
use crate::record::Record;
use crate::tool::Tool;

/// The jobs whose last record showed them running, and the number of jobs whose work is done.
#[derive(Debug, Default)]
pub struct RunningJobs {
    running: RefCell<HashSet<String>>,
    /// Whether one of them was started from a command line.
    has_own: Cell<bool>,
    done: Cell<u64>,
}

impl RunningJobs {
    /// The record shows its job running: a later record of the job may show its end.
    pub fn note_running(&self, record: &Record) {
        self.running.borrow_mut().insert(record.identity().unwrap_or_default());
        self.has_own.set(self.has_own.get() || record.job().is_some_and(|job| job.bucket.is_none()));
    }

    /// The record shows that its job has ended.
    pub fn note_ended(&self, record: &Record) {
        self.running.borrow_mut().remove(&record.identity().unwrap_or_default());
    }

    /// The stage has done its work for a job.
    pub fn note_done(&self) {
        self.done.set(self.done.get() + 1);
    }

    /// Reports the jobs that were still running at the end of the input. The exit status is 1 if nothing was done.
    /// `consequence` says what the stage left undone, and what to do.
    pub fn report(&self, tool: Tool, output: &Output, consequence: &str) {
        let running = self.running.borrow().len();
        if running == 0 {
            return;
        }
        let (jobs, were) = (format_count(running, "job"), if running == 1 { "was" } else { "were" });
        let message = format!("{jobs} {were} still running at the end of the input and {were} {consequence}");
        // The same pipe would start the jobs again. A later `rm` says it.
        if self.has_own.get() && !LaterStages::find().removes {
            tool.note_with_hint(&message, &format!("`{COMPLETE_JOBS}` completes the jobs that were started"));
        } else {
            tool.note(&message);
        }
        if self.done.get() == 0 {
            output.note_undone();
        }
    }
}
