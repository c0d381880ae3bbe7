//! The messages at the end of `ncaas-exec run`, or at its interruption, about jobs that are still running.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use ncaas_core::files;
use ncaas_core::pipe::{describe_interruption, describe_running, resume_advice};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use ncaas_core::text::shell_line;
use ncaas_core::tool::Tool;

/// At most this many datasets that were not started are named.
const NAMES_SHOWN: usize = 5;

/// Numbers of records.
#[derive(Debug, Default)]
pub(super) struct RecordCounts {
    /// The number of records that have arrived and have not had their turn.
    backlog: Rc<Cell<u64>>,
    /// The number of records that had their turn.
    pub(super) begun: Cell<u64>,
    /// The job of the last record.
    last: RefCell<Option<Job>>,
    /// The datasets of the command line whose jobs were not started.
    unstarted: RefCell<Vec<String>>,
    has_name: bool,
    /// The number of records whose job was started, now or earlier.
    pub(super) started: Cell<u64>,
    /// The number of records whose job could not be started.
    pub(super) failed: Cell<u64>,
}

fn increment(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl RecordCounts {
    /// For the datasets of the command line. `has_name`: it names their job, and no other job can have that name.
    pub(super) fn new(backlog: Rc<Cell<u64>>, datasets: Vec<String>, has_name: bool) -> Self {
        RecordCounts { backlog, has_name, unstarted: RefCell::new(datasets), ..RecordCounts::default() }
    }

    /// Counts a record that has its turn.
    pub(super) fn begin(&self, record: &Record) {
        increment(&self.begun);
        self.last.replace(Some(record.job().unwrap_or_default()));
    }

    /// Counts a record whose job was started, or could not be.
    pub(super) fn end_start(&self, record: &Record, is_started: bool) {
        increment(if is_started { &self.started } else { &self.failed });
        let names = record.dataname();
        let is_this = |name: &String| names.as_ref().is_some_and(|names| names.first() == Some(name));
        self.unstarted.borrow_mut().retain(|name| !is_this(name));
    }

    /// How many jobs have not been started.
    pub(super) fn waiting(&self) -> u64 {
        (self.backlog.get() + self.begun.get()).saturating_sub(self.started.get() + self.failed.get())
    }

    /// Prints that `running` jobs are still running at the end of the command.
    pub(super) fn note_running(&self, tool: Tool, running: usize) {
        match running {
            0 => {}
            1 if self.begun.get() == 1 => tool.note(
                "1 job is running in the background: `ncaas-exec wait last` waits for it, `ncaas-logs lines --follow last` \
                 shows its output",
            ),
            running => {
                let advice = match file_of_stdout() {
                    Some(file) => format!("`ncaas-exec wait <{file}` waits until all have ended"),
                    None => "`ncaas-exec ls --mine | ncaas-exec wait` waits until your jobs have ended".to_owned(),
                };
                tool.note(&format!("{}: {advice}", describe_running(running as u64)));
            }
        }
    }

    /// Prints what an interruption means for the jobs, of which `running` have not ended.
    pub(super) fn note_interruption(&self, tool: Tool, running: usize) {
        let left = self.waiting();
        if left == 0 && running == 0 {
            return;
        }
        let go_on = describe_running(running as u64);
        let advice = (running > 0).then(|| resume_advice(self.last.borrow().as_ref()));
        let left = [Some(go_on), self.describe_unstarted(left), advice];
        tool.note(&describe_interruption(left.into_iter().flatten()));
    }

    /// How many jobs were not started, and how to start them.
    fn describe_unstarted(&self, left: u64) -> Option<String> {
        let count = match left {
            0 => return None,
            1 => "1 was not started".to_owned(),
            left => format!("{left} were not started"),
        };
        let names = self.unstarted.borrow();
        let shown = names
            .iter()
            .take(NAMES_SHOWN)
            .map(|name| files::relative_to_working_directory(Path::new(name)).to_string_lossy().into_owned());
        let data = shell_line(["--data".to_owned()].into_iter().chain(shown));
        let more = match names.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let name = if self.has_name { " and another `--name`" } else { "" };
        Some(if names.is_empty() { count } else { format!("{count}: run the same command with `{data}`{more}{name}") })
    }
}

/// The path of the file that the records are written to, quoted for a shell; none if stdout is no file.
fn file_of_stdout() -> Option<String> {
    let path = std::fs::read_link("/proc/self/fd/1").ok().filter(|path| path.is_file())?;
    Some(shell_line([files::relative_to_working_directory(&path).to_str()?]))
}
