//! The messages at the end of `ncaas-exec run`, or at its interruption, about jobs that go on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ncaas_core::pipe::{describe_running, resume_advice};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::tool::Tool;

/// Numbers of records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Those that have arrived and have not had their turn.
    backlog: Rc<Cell<u64>>,
    /// Those that had their turn.
    pub(super) begun: Cell<u64>,
    /// The job of the last one.
    last: RefCell<Option<Job>>,
    /// Those whose job was started, or had been before.
    pub(super) started: Cell<u64>,
    /// Those whose job could not be started.
    pub(super) failed: Cell<u64>,
}

pub(super) fn increment(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Counts {
    pub(super) fn new(backlog: Rc<Cell<u64>>) -> Self {
        Counts { backlog, ..Counts::default() }
    }

    /// Counts a record that has its turn.
    pub(super) fn begin(&self, record: &Record) {
        increment(&self.begun);
        self.last.replace(Some(record.job().unwrap_or_default()));
    }

    /// How many jobs have not been started.
    pub(super) fn waiting(&self) -> u64 {
        (self.backlog.get() + self.begun.get()).saturating_sub(self.started.get() + self.failed.get())
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
                "{}: `ncaas-exec ls` lists them; `ncaas-exec run --follow` waits for jobs",
                describe_running(running as u64)
            )),
        }
    }

    /// Says what an interruption means for the jobs, of which `running` have not ended.
    pub(super) fn note_interruption(&self, tool: Tool, running: usize) {
        let left = self.waiting();
        if left == 0 && running == 0 {
            return;
        }
        let go_on = format!("interrupted: {}", describe_running(running as u64));
        let left = match left {
            0 => None,
            1 => Some("1 was not started".to_owned()),
            left => Some(format!("{left} were not started")),
        };
        let advice = (running > 0).then(|| resume_advice(self.last.borrow().as_ref()).to_owned());
        tool.note(&[Some(go_on), left, advice].into_iter().flatten().collect::<Vec<_>>().join("; "));
    }
}
