//! The rules of the pipe: reads records, runs a verb on several at once, and writes them.
//!
//! A verb gives its work to a [`Pipe`] as an async function of one record. The pipe reads stdin or takes the records
//! made from arguments, works on at most `jobs` of a group at once and on records of the same job one after the other,
//! stores failures in their records, passes records with an error on, writes each record when its work is complete, and
//! returns the exit status. A signal drops the futures that are running: at every await, nothing may be half-written.

mod args;
mod followed_jobs;
mod input;
mod interruption;
mod later_stages;
mod output;
mod repeated_failures;
mod running_jobs;
mod summary;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use async_recursion::async_recursion as boxed;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::Mutex;

pub use args::{ContainerArg, ContainersArgs, PipeArgs, RecordArgs};
pub use followed_jobs::FollowedJobs;
pub use input::Input;
pub use interruption::{COMPLETE_JOBS, describe_interruption, describe_running, resume_advice};
pub use output::{Output, json_line, stdout_hang_up, stdout_is_pipe};
pub use running_jobs::RunningJobs;

pub use self::repeated_failures::RepeatedFailures;
use crate::failure::{Failure, Kind, Result};
use crate::lease;
use crate::quantity::format_count;
use crate::record::Record;
use crate::record::fields::Job;
use crate::tool::{ExitStatus, Tool};

/// The hint for a line of output in place of a record.
const OUTPUT_HINT: &str = "this is a line of output: use `ncaas-logs save` in place of `ncaas-logs lines` in the pipe; \
                           `ncaas-exec ls --all --mine` lists the jobs that were started";

/// Writes complete lines: a table, or one value as JSON.
///
/// # Errors
/// If stdout cannot be written.
pub async fn print(tool: Tool, lines: Vec<u8>) -> Result<ExitStatus> {
    let write = async |output: &Output| {
        output.write_lines(lines).await;
        Ok(())
    };
    Pipe::new(tool, 1).source(write).await
}

/// What a verb does after its last record.
type AtEnd<'w> = Box<dyn FnOnce(&Output) + 'w>;

/// The work of a verb on one record. Its type is erased, so that the code of the pipe is compiled once and not for each
/// verb.
trait Work {
    fn start<'a>(&'a self, record: &'a mut Record, output: &'a Output) -> LocalBoxFuture<'a, Result<()>>;
}

impl<W: AsyncFn(&mut Record, &Output) -> Result<()>> Work for W {
    fn start<'a>(&'a self, record: &'a mut Record, output: &'a Output) -> LocalBoxFuture<'a, Result<()>> {
        Box::pin(self(record, output))
    }
}

/// How a verb works on its records.
#[derive(Debug)]
pub struct Pipe {
    /// The tool, whose name is in messages.
    pub tool: Tool,
    /// How many records of a group may be in progress.
    pub jobs: usize,
    /// How many records beyond `jobs` may be in progress, so that one group does not occupy every place; 1 by default.
    pub room_for_others: usize,
    /// For verbs that report failures: they also work on records with an error.
    pub takes_errors: bool,
    /// For verbs that bring a job to its end: records of jobs that are complete in their bucket pass through unchanged.
    pub skips_pushed: bool,
    /// For verbs that say themselves what an interruption means for their jobs.
    pub explains_interruption: bool,
    /// On a terminal, each record is written as a summary.
    pub summarises: bool,
    /// For verbs that print a note about each record: on a terminal, the summary of the record is left out.
    pub notes_only: bool,
}

impl Pipe {
    /// A pipe that works on `jobs` records of a group at once.
    pub fn new(tool: Tool, jobs: usize) -> Self {
        Pipe {
            tool,
            jobs: jobs.max(1),
            room_for_others: 1,
            takes_errors: false,
            skips_pushed: false,
            explains_interruption: false,
            summarises: false,
            notes_only: false,
        }
    }

    /// A pipe of a verb with these flags, which works on `default_jobs` records of a group at once unless the user
    /// chose a number.
    pub fn for_args(tool: Tool, args: &PipeArgs, default_jobs: usize) -> Self {
        Pipe { jobs: args.jobs_or(default_jobs), ..Pipe::for_records(tool, &args.records) }
    }

    /// A pipe of a verb with these flags, which writes records and reads none.
    pub fn for_records(tool: Tool, args: &RecordArgs) -> Self {
        Pipe { summarises: !args.json, ..Pipe::new(tool, 1) }
    }

    /// Runs `work` on each record and writes the record, with the failure of `work` if it failed.
    ///
    /// # Errors
    /// If stdin cannot be read or stdout cannot be written.
    pub async fn filter<W>(self, input: Input, work: W) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        self.filter_then(input, work, |_| {}).await
    }

    /// Same as [`Pipe::filter`], and calls `at_end` after the last record, unless the run is interrupted or stdout is
    /// closed.
    ///
    /// # Errors
    /// Same as [`Pipe::filter`].
    pub async fn filter_then<W>(self, input: Input, work: W, at_end: impl FnOnce(&Output)) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        self.run(input, &work, true, Box::new(at_end)).await
    }

    /// Runs `work` on each record. `work` writes the output; the record itself is written only if it failed.
    ///
    /// # Errors
    /// Same as [`Pipe::filter`].
    pub async fn for_each<W>(self, input: Input, work: W) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        self.run(input, &work, false, Box::new(|_| {})).await
    }

    /// Runs `work`, which writes output without reading records.
    ///
    /// # Errors
    /// The failure of `work`, or that stdout cannot be written.
    pub async fn source<W>(self, work: W) -> Result<ExitStatus>
    where
        W: AsyncFnOnce(&Output) -> Result<()>,
    {
        let output = self.open_output();
        let worked = tokio::select! {
            biased;
            () = self.tool.interrupted() => Ok(()),
            () = output.closed() => Ok(()),
            worked = work(&output) => worked,
        };
        let status = output.finish().await?;
        worked.map(|()| self.tool.status_after(status))
    }

    /// Writes one value that is not a job record.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub async fn write_json(self, value: &impl Serialize) -> Result<ExitStatus> {
        let write = async |output: &Output| {
            output.write_json(value).await;
            Ok(())
        };
        self.source(write).await
    }

    fn open_output(&self) -> Output {
        if self.summarises { Output::summaries(self.tool, self.notes_only) } else { Output::json() }
    }

    /// Runs `work` on each record, and writes the record after it if `writes` is set.
    #[boxed(?Send)]
    async fn run<'w>(
        self,
        mut input: Input,
        work: &'w dyn Work,
        writes: bool,
        at_end: AtEnd<'w>,
    ) -> Result<ExitStatus> {
        let run = Run {
            work,
            writes,
            output: self.open_output(),
            queues: JobQueues::default(),
            repeated: RepeatedFailures::default(),
            last_job: RefCell::default(),
            pipe: self,
        };
        let pipe = &run.pipe;
        let mut running = FuturesUnordered::new();
        let mut of_groups: HashMap<String, usize> = HashMap::new();
        let mut ended = Ok(());
        let (mut interrupted, mut closed) = (false, false);
        loop {
            while running.len() < pipe.jobs + pipe.room_for_others
                && let Some((group, line)) =
                    input.take_record(|group| of_groups.get(group).is_none_or(|count| *count < pipe.jobs))
            {
                *of_groups.entry(group.clone()).or_default() += 1;
                let done = run.process(line);
                running.push(async move {
                    done.await;
                    group
                });
            }
            if running.is_empty() && input.is_over() {
                break;
            }
            tokio::select! {
                biased;
                () = pipe.tool.interrupted() => { interrupted = true; break; }
                () = run.output.closed() => { closed = true; break; }
                Some(group) = running.next(), if !running.is_empty() => leave_group(&mut of_groups, &group),
                read = input.read(), if input.may_read() => ended = ended.and(read),
            }
        }
        let jobs = running.len();
        // Their progress lines are removed from the terminal before the next message.
        drop(running);
        run.repeated.report_counts(pipe.tool, "record");
        if interrupted && jobs > 0 && !pipe.explains_interruption {
            let advice = resume_advice(run.last_job.borrow().as_ref().filter(|_| input.is_stdin()));
            let left = [format!("{} not finished", format_count(jobs, "record")), advice];
            pipe.tool.note(&describe_interruption(left));
        }
        if !interrupted && !closed {
            at_end(&run.output);
        }
        let status = run.output.finish().await?;
        ended.map(|()| run.pipe.tool.status_after(status))
    }
}

/// One run of a verb.
struct Run<'w> {
    pipe: Pipe,
    work: &'w dyn Work,
    /// Whether the pipe writes a record after the work on it.
    writes: bool,
    output: Output,
    queues: JobQueues,
    repeated: RepeatedFailures,
    last_job: RefCell<Option<Job>>,
}

impl Run<'_> {
    /// Works on one line and writes its record.
    async fn process(&self, line: Result<Record, (Vec<u8>, Failure)>) {
        let Run { pipe, output, .. } = self;
        let mut record = match line {
            Ok(record) => record,
            Err((start, failure)) => {
                self.repeated.report(pipe.tool, &failure);
                output.note_failure(&failure);
                return output.emit(&Record::from_bad_line(&start, &failure, pipe.tool.name())).await;
            }
        };
        if let Some(job) = record.job() {
            self.last_job.replace(Some(job));
        }
        let queued = self.queues.enter(&record);
        // Without a wait, work begins in the order of the records: tokio interrupts a task that takes many locks in a
        // row.
        let held = match queued.lock.try_lock() {
            Ok(held) => held,
            Err(_) => queued.lock.lock().await,
        };
        let passes = record.has_error() && !pipe.takes_errors || record.is_pushed() && pipe.skips_pushed;
        if passes {
            output.pass_on(&record).await;
        } else {
            match self.work.start(&mut record, output).await {
                Ok(()) if self.writes => output.emit(&record).await,
                Ok(()) => {}
                Err(mut failure) => {
                    let is_output = record.text("line").is_some() && record.text("stream").is_some();
                    if failure.kind == Kind::BadRecord && is_output {
                        failure.hint = Some(OUTPUT_HINT.to_owned());
                    }
                    if !record.is_pushed() && lease::will_retry(&record, &failure) {
                        let remedy = if failure.kind == Kind::DiskFull { "free disk space; " } else { "" };
                        failure.hint = Some(format!("{remedy}this pipe retries the job"));
                    }
                    // A record as JSON on the same terminal contains it.
                    if !output.shows_json_beside_messages() {
                        self.repeated.report(pipe.tool, &failure);
                    }
                    output.note_failure(&failure);
                    record.fail(pipe.tool.name(), &failure);
                    output.emit(&record).await;
                }
            }
        }
        drop(held);
        self.queues.leave(queued);
    }
}

/// Counts one record of a group less. Groups without records are forgotten.
fn leave_group(of_groups: &mut HashMap<String, usize>, group: &str) {
    if let Some(count) = of_groups.get_mut(group) {
        *count -= 1;
        if *count == 0 {
            of_groups.remove(group);
        }
    }
}

/// The records of each job in the order of their arrival: the work on one begins when the one before it is complete.
#[derive(Default)]
struct JobQueues {
    locks: RefCell<HashMap<String, Rc<Mutex<()>>>>,
}

/// A record among those of its job.
struct QueuedRecord {
    job: Option<String>,
    lock: Rc<Mutex<()>>,
}

impl JobQueues {
    fn enter(&self, record: &Record) -> QueuedRecord {
        let job = record.identity();
        let lock = match &job {
            Some(job) => Rc::clone(self.locks.borrow_mut().entry(job.clone()).or_default()),
            None => Rc::default(),
        };
        QueuedRecord { job, lock }
    }

    /// Removes the lock of a job without other records, so that memory does not grow with the number of records.
    fn leave(&self, queued: QueuedRecord) {
        let mut locks = self.locks.borrow_mut();
        // One reference is in the map and one here.
        if Rc::strong_count(&queued.lock) == 2
            && let Some(job) = &queued.job
        {
            locks.remove(job);
        }
    }
}
