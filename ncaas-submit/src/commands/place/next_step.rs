//! The next step of a placer for a record: a pure decision from the scheduler's and the bucket's answers.
//!
//! The bucket decides: a saved record is the result. The scheduler's state is used only if there is none, and a job
//! that is missing from the queue has not necessarily ended: Slurm forgets ended jobs after `MinJobAge`, and lists
//! nothing right after its controller has started.

use super::scheduled_job::ScheduledJob;

/// In how many successive listings a job must be missing before it counts as gone.
pub(super) const MISSING_LIMIT: u32 = 3;

/// The facts about one record.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlacementState<'a> {
    /// The record's job in the newest listing, or its end as the scheduler's accounting has it.
    pub(super) entry: Option<&'a ScheduledJob>,
    /// In how many successive listings it has been missing.
    pub(super) missing: u32,
    /// How many times the record has been submitted to the scheduler.
    pub(super) submissions: u64,
    /// How often it may be submitted again.
    pub(super) retries: u64,
}

/// The next step. `S` is the saved record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextStep<S> {
    /// The job waits or runs, or one more listing is needed.
    Wait,
    /// The saved record is the result.
    Finish(S),
    /// The job was cancelled at the scheduler, and no node has reported it.
    Cancelled,
    /// The job is lost: submit it again. The text says how it ended.
    SubmitAgain(String),
    /// The job is lost, and was submitted as often as it may be. The text says how it ended.
    OutOfRetries(String),
}

/// Decides what to do next. `saved` is the saved record of this attempt, which is looked up only when the job has ended
/// or is missing.
pub(super) fn next_step<S>(facts: PlacementState<'_>, saved: Option<S>) -> NextStep<S> {
    if let Some(saved) = saved {
        return NextStep::Finish(saved);
    }
    let how = match facts.entry {
        Some(entry) if entry.is_active() => return NextStep::Wait,
        Some(entry) if entry.state == "cancelled" => return NextStep::Cancelled,
        Some(entry) => {
            let reason = entry.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}{reason}", entry.state)
        }
        None if facts.missing < MISSING_LIMIT => return NextStep::Wait,
        None => "missing from the queue".to_owned(),
    };
    if facts.submissions <= facts.retries { NextStep::SubmitAgain(how) } else { NextStep::OutOfRetries(how) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: &str) -> ScheduledJob {
        ScheduledJob {
            id: "7".into(),
            name: "x".into(),
            state: state.into(),
            reason: None,
            node: None,
            restarts: 0,
            submitted_at: None,
            ended_at: None,
            submissions: 1,
        }
    }

    #[test]
    fn the_bucket_decides_before_the_scheduler() {
        let lost = |state: &str| NextStep::OutOfRetries(state.to_owned());
        let again = |state: &str| NextStep::SubmitAgain(state.to_owned());
        let table = [
            // state in the queue, missing listings, saved, submissions, retries -> next step
            (Some("running"), 0, false, 1, 2, NextStep::Wait),
            (Some("pending"), 0, false, 3, 2, NextStep::Wait),
            (Some("failed"), 0, true, 1, 2, NextStep::Finish(())),
            (Some("cancelled"), 0, true, 1, 2, NextStep::Finish(())),
            (Some("cancelled"), 0, false, 1, 2, NextStep::Cancelled),
            (Some("completed"), 0, false, 1, 2, again("completed")),
            (Some("node_fail"), 0, false, 2, 2, again("node_fail")),
            (Some("node_fail"), 0, false, 3, 2, lost("node_fail")),
            (Some("timeout"), 0, false, 1, 0, lost("timeout")),
            (None, 1, false, 1, 2, NextStep::Wait),
            (None, MISSING_LIMIT, true, 1, 2, NextStep::Finish(())),
            (None, MISSING_LIMIT, false, 1, 2, again("missing from the queue")),
            (None, MISSING_LIMIT, false, 3, 2, lost("missing from the queue")),
        ];
        for (state, missing, is_saved, submissions, retries, expected) in table {
            let entry = state.map(entry);
            let facts = PlacementState { entry: entry.as_ref(), missing, submissions, retries };
            assert_eq!(next_step(facts, is_saved.then_some(())), expected, "{facts:?} {is_saved}");
        }
    }
}
