//! The verdict on a container's exit, a pure function of the evidence about it. Where the evidence does not decide, the
//! cause is reported as unknown.

use crate::record::fields::{Oom, Status, StoppedBy};

/// The signal KILL: the kernel sends it for memory, and the engine when a container does not stop.
pub(super) const KILL: i64 = 9;
/// The exit code that an engine gives a container whose process it does not find when it starts.
pub(super) const UNKNOWN_EXIT: i64 = 255;

/// Shells and the engine report a signal as the exit code 128 plus its number.
const SIGNALLED: i64 = 128;
/// The highest number of a signal that ends programs. The real-time signals above it are not used.
const LAST_SIGNAL: i64 = 31;

/// The evidence about a container's exit.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// The status by the inspection alone.
    pub(super) status: Option<Status>,
    pub(super) exit_code: Option<i64>,
    pub(super) signal: Option<i64>,
    pub(super) is_podman: bool,
    /// The engine's flag `OOMKilled`.
    pub(super) oom_flag: bool,
    /// The engine's event `oom`.
    pub(super) oom_event: bool,
    /// Somebody asked the engine to end the container.
    pub(super) kill_event: bool,
    /// The engine's events go back to the container's start.
    pub(super) start_event: bool,
    /// Whether the kernel's log shows that a process of the container was killed for memory. `None` if it is not known.
    pub(super) kernel_log: Option<bool>,
    /// The kernel's count of OOM kills on this machine has not changed since before the exit.
    pub(super) no_oom_kills: bool,
    pub(super) die_event: bool,
    /// The container was marked as ended when the engine started, with an unknown exit code: an engine that
    /// was killed at the moment of the exit reports 0 for it.
    pub(super) lost_exit: bool,
    /// The engine keeps fewer events than it can: it was restarted after the container's start.
    pub(super) engine_restarted: bool,
}

/// The cause of an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Option<Status>,
    pub(super) oom: Oom,
    pub(super) oom_evidence: Vec<String>,
    pub(super) stopped_by: Option<StoppedBy>,
}

impl Evidence {
    /// Whether the kernel may know of a kill for memory that the engine does not report. An engine sets its flag only
    /// if it hears of the kill in time, and Podman hardly ever does.
    pub(super) fn needs_kernel(&self) -> bool {
        !self.oom_flag && !self.oom_event && !self.kill_event && (self.is_podman || self.signal == Some(KILL))
    }

    /// Whether only a restart of the engine could explain the exit: its events do not go back to the container's start.
    pub(super) fn needs_engine_history(&self) -> bool {
        let ended_by_itself = self.signal.is_none() && self.exit_code != Some(UNKNOWN_EXIT);
        let is_explained = matches!(self.judged_status(), Some(Status::Timeout | Status::OutOfMemory));
        !is_explained && !self.start_event && (self.kill_event || !ended_by_itself)
    }

    /// Whether the engine may have invented the exit code 0 when it started.
    pub(super) fn is_unproven_success(&self) -> bool {
        self.status == Some(Status::Success) && !self.is_podman && !self.start_event && !self.die_event
    }

    fn judged_status(&self) -> Option<Status> {
        if self.lost_exit {
            return Some(Status::Failed);
        }
        let is_oom = self.oom_event || self.kernel_log == Some(true);
        if is_oom && !self.kill_event && self.status == Some(Status::Killed) {
            return Some(Status::OutOfMemory);
        }
        self.status
    }

    pub(super) fn verdict(&self) -> Verdict {
        let sources = [
            (self.oom_flag, "the engine's flag OOMKilled"),
            (self.oom_event, "the engine's event oom"),
            (self.kernel_log == Some(true), "the kernel's log"),
        ];
        let mut oom_evidence: Vec<String> =
            sources.iter().filter(|(shows, _)| *shows).map(|(_, source)| (*source).to_owned()).collect();
        let oom = if !oom_evidence.is_empty() {
            Oom::Known(true)
        } else if !self.needs_kernel() {
            Oom::Known(false)
        } else if self.no_oom_kills {
            oom_evidence.push("the kernel's count of OOM kills on this machine did not change".to_owned());
            Oom::Known(false)
        } else if self.kernel_log == Some(false) && self.signal != Some(KILL) {
            // If the kernel kills many processes at once it logs only some, so its log proves nothing about a KILL.
            Oom::Known(false)
        } else {
            Oom::Unknown
        };
        let status = self.judged_status();
        let stopped_by = match status {
            Some(Status::Timeout) => Some(StoppedBy::Timeout),
            Some(Status::OutOfMemory) => None,
            _ if self.lost_exit => Some(StoppedBy::Engine),
            _ if self.kill_event && self.start_event => Some(StoppedBy::User),
            // A restarted engine ends the containers that ran before.
            _ if self.needs_engine_history() && self.engine_restarted => Some(StoppedBy::Engine),
            _ if self.kill_event => Some(StoppedBy::User),
            _ => None,
        };
        Verdict { status, oom, oom_evidence, stopped_by }
    }
}

/// How a job with an exit code ended. `overran`: it ran longer than its limit.
///
/// Exit code 0 is a success even if the job ran longer than its limit, or a child process was killed for memory: the
/// job itself says that it has done its work.
pub fn status_of_exit(exit_code: i64, oom_killed: bool, overran: bool) -> Status {
    if exit_code == 0 {
        Status::Success
    } else if overran {
        Status::Timeout
    } else if oom_killed {
        Status::OutOfMemory
    } else if signal(exit_code).is_some() {
        Status::Killed
    } else {
        Status::Failed
    }
}

/// The signal that an exit code stands for.
pub(super) fn signal(exit_code: i64) -> Option<i64> {
    (SIGNALLED + 1..=SIGNALLED + LAST_SIGNAL).contains(&exit_code).then_some(exit_code - SIGNALLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The evidence about a process that was ended by KILL, with events since its start.
    fn killed() -> Evidence {
        let (status, exit_code, signal) = (Some(Status::Killed), Some(128 + KILL), Some(KILL));
        Evidence { status, exit_code, signal, start_event: true, ..Evidence::default() }
    }

    fn exited(exit_code: i64) -> Evidence {
        let status = if exit_code == 0 { Status::Success } else { Status::Failed };
        Evidence { status: Some(status), exit_code: Some(exit_code), start_event: true, ..Evidence::default() }
    }

    #[test]
    fn the_verdict_follows_from_the_evidence() {
        use Status::{Failed, Killed, OutOfMemory, Success, Timeout};
        let (yes, no, unknown) = (Oom::Known(true), Oom::Known(false), Oom::Unknown);
        let (user, engine, limit) = (Some(StoppedBy::User), Some(StoppedBy::Engine), Some(StoppedBy::Timeout));
        let restarted = |evidence| Evidence { start_event: false, engine_restarted: true, ..evidence };
        let table = [
            (exited(0), Success, no, None),
            (exited(1), Failed, no, None),
            // KILL from an unknown sender, and what the kernel says about it.
            (killed(), Killed, unknown, None),
            (Evidence { no_oom_kills: true, ..killed() }, Killed, no, None),
            (Evidence { kernel_log: Some(false), ..killed() }, Killed, unknown, None),
            (Evidence { kernel_log: Some(true), ..killed() }, OutOfMemory, yes, None),
            (Evidence { oom_event: true, ..killed() }, OutOfMemory, yes, None),
            (Evidence { status: Some(OutOfMemory), oom_flag: true, ..killed() }, OutOfMemory, yes, None),
            // `docker kill`; the same after a child was killed for memory; a stopped process that exits with 0.
            (Evidence { kill_event: true, ..killed() }, Killed, no, user),
            (Evidence { kill_event: true, oom_event: true, ..killed() }, Killed, yes, user),
            (Evidence { kill_event: true, ..exited(0) }, Success, no, user),
            (Evidence { status: Some(Timeout), kill_event: true, ..killed() }, Timeout, no, limit),
            // An engine that was restarted: it kills, does not find a process, or has invented an exit code of 0.
            (restarted(killed()), Killed, unknown, engine),
            (restarted(exited(UNKNOWN_EXIT)), Failed, no, engine),
            (Evidence { lost_exit: true, ..restarted(exited(0)) }, Failed, no, engine),
            // Ends before the restart.
            (restarted(exited(1)), Failed, no, None),
            (restarted(exited(0)), Success, no, None),
            // `docker kill` after many other events.
            (Evidence { start_event: false, kill_event: true, ..killed() }, Killed, no, user),
            // Under Podman: a child killed for memory; failures with a silent and an unreadable log of the kernel.
            (Evidence { is_podman: true, kernel_log: Some(true), ..exited(0) }, Success, yes, None),
            (Evidence { is_podman: true, kernel_log: Some(false), ..exited(1) }, Failed, no, None),
            (Evidence { is_podman: true, ..exited(1) }, Failed, unknown, None),
        ];
        for (evidence, status, oom, stopped_by) in table {
            let verdict = evidence.verdict();
            let judged = (verdict.status, verdict.oom, verdict.stopped_by);
            assert_eq!(judged, (Some(status), oom, stopped_by), "{evidence:?}");
        }
    }

    #[test]
    fn the_verdict_names_its_evidence() {
        let all = Evidence { oom_flag: true, oom_event: true, ..killed() };
        assert_eq!(all.verdict().oom_evidence, ["the engine's flag OOMKilled", "the engine's event oom"]);
        let none = Evidence { no_oom_kills: true, ..killed() };
        let named = "the kernel's count of OOM kills on this machine did not change";
        assert_eq!(none.verdict().oom_evidence, [named]);
        assert!(killed().verdict().oom_evidence.is_empty());
    }
}
