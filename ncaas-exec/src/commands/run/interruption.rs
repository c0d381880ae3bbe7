//! The messages at the end of `ncaas-exec run`, or at its interruption, about jobs that go on.

use std::cell::Cell;

use ncaas_core::outcome::total_line;
use ncaas_core::tool::Tool;

/// Numbers of records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Those that came.
    pub(super) begun: Cell<usize>,
    /// Those whose job was started, or had been before.
    pub(super) started: Cell<usize>,
    pub(super) failed: Cell<usize>,
    /// Those whose end this command has waited for, and those of them whose job failed.
    pub(super) followed: Cell<usize>,
    pub(super) followed_failed: Cell<usize>,
}

pub(super) fn increment(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

impl Counts {
    /// Says how all jobs have ended that this command has waited for.
    pub(super) fn note_total(&self, tool: Tool) {
        if let Some(total) = total_line(self.followed.get() as u64, self.followed_failed.get() as u64) {
            tool.note(&total);
        }
    }

    /// Says that `running` jobs run on after the end of the command.
    pub(super) fn note_running(&self, tool: Tool, running: usize) {
        match running {
            0 => {}
            1 => tool.note(
                "1 job runs in the background: `ncaas-exec wait last` waits for it, `ncaas-logs lines --follow last` \
                 shows its output",
            ),
            running => tool.note(&format!(
                "{running} jobs run in the background: `ncaas-exec ls` lists them; `ncaas-exec run --follow` waits for jobs"
            )),
        }
    }

    /// Says what an interruption means for the jobs, of which `running` have not ended. `expected` is the number of records, if it
    /// is known.
    pub(super) fn note_interruption(&self, tool: Tool, expected: usize, running: usize) {
        let left = expected.max(self.begun.get()).saturating_sub(self.started.get() + self.failed.get());
        if left == 0 && running == 0 {
            return;
        }
        let go_on = match running {
            0 => "no job runs".to_owned(),
            1 => "1 job goes on in the background".to_owned(),
            running => format!("{running} jobs go on in the background"),
        };
        let how = "`ncaas-exec ls` lists jobs, `ncaas-exec stop NAME` stops one, and `ncaas-exec ls --all | ncaas-logs \
                   save | ncaas-sync collect` saves their results";
        let hint = if running > 0 { format!("; {how}") } else { String::new() };
        let left = if left == 1 { "1 was not started".to_owned() } else { format!("{left} were not started") };
        tool.note(&format!("interrupted: {go_on}; {left}{hint}"));
    }
}
