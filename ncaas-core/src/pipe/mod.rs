//! How records come in, are worked on side by side, and go out: the rules of the pipe, once for all tools.
//!
//! A verb hands its work to a [`Pipe`] as an async function of one record. The pipe reads stdin (or takes the record
//! made from arguments), keeps at most `jobs` of them in work at once, works on records of the same job one after the
//! other, puts failures on their records, lets records with an error pass by, writes each as it is done, and turns
//! what happened into an exit status. Futures that are in work when a signal comes are dropped: what they do must
//! leave nothing half-written when dropped at any await.

mod args;
mod input;
mod output;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

pub use args::{PipeArgs, SchemaArgs};
pub use input::{Input, MAX_LINE};
pub use output::Output;

use crate::failure::{Failure, Result};
use crate::record::Record;
use crate::tool::{ExitStatus, Tool};

/// The version of the record format, in each JSON Schema. It rises when a field is removed, renamed or changes its type or
/// meaning; new fields and new error kinds do not raise it (docs/records.md has the promise).
pub const RECORD_FORMAT_VERSION: u32 = 1;

/// Writes the JSON Schema of `T`, for `--schema`.
///
/// # Errors
/// When stdout cannot be written.
pub async fn print_schema<T: JsonSchema>() -> Result<ExitStatus> {
    let output = Output::stdout();
    let mut schema = schemars::schema_for!(T);
    schema.insert("version".to_owned(), RECORD_FORMAT_VERSION.into());
    output.write_json(&schema).await;
    output.finish().await.map(ExitStatus)
}

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

/// A value as a line of JSON, with its line break.
pub fn json_line(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are not strings cannot be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// How a verb works on its records.
#[derive(Debug)]
pub struct Pipe {
    tool: Tool,
    jobs: usize,
    takes_errors: bool,
    skips_pushed: bool,
}

impl Pipe {
    /// A pipe that works on `jobs` records at once.
    pub fn new(tool: Tool, jobs: usize) -> Self {
        Pipe { tool, jobs: jobs.max(1), takes_errors: false, skips_pushed: false }
    }

    /// For verbs that report: they are given records with an error too.
    #[must_use]
    pub fn takes_errors(mut self) -> Self {
        self.takes_errors = true;
        self
    }

    /// For verbs that work towards a job's end: records of jobs that are in their bucket already pass through untouched.
    #[must_use]
    pub fn skips_pushed(mut self) -> Self {
        self.skips_pushed = true;
        self
    }

    /// Runs `work` on each record, which then goes out with what `work` has changed in it, and with its failure.
    ///
    /// # Errors
    /// Only what ends the whole run: stdin cannot be read, or stdout not written.
    pub async fn filter<W>(self, input: Input, work: W) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        self.filter_then(input, work, |_| {}).await
    }

    /// As [`Pipe::filter`], and calls `at_end` after the last record, unless the run is interrupted or nobody reads its
    /// output any more.
    ///
    /// # Errors
    /// As [`Pipe::filter`].
    pub async fn filter_then<W>(self, input: Input, work: W, at_end: impl FnOnce(&Output)) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        let work = async |record: &mut Record, output: &Output| work(record, output).await.map(|()| true);
        self.run(input, work, at_end).await
    }

    /// Runs `work` on each record, which writes what it likes; the record itself goes out only if it failed.
    ///
    /// # Errors
    /// Only what ends the whole run: stdin cannot be read, or stdout not written.
    pub async fn each<W>(self, input: Input, work: W) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<()>,
    {
        let work = async |record: &mut Record, output: &Output| work(record, output).await.map(|()| false);
        self.run(input, work, |_| {}).await
    }

    /// Runs `work`, which makes records out of something else than records.
    ///
    /// # Errors
    /// What `work` fails with, or that stdout cannot be written.
    pub async fn source<W>(self, work: W) -> Result<ExitStatus>
    where
        W: AsyncFnOnce(&Output) -> Result<()>,
    {
        let output = Output::stdout();
        let worked = tokio::select! {
            biased;
            () = self.tool.interrupted() => Ok(()),
            () = output.closed() => Ok(()),
            worked = work(&output) => worked,
        };
        let status = output.finish().await?;
        worked.map(|()| self.tool.status_after(status))
    }

    async fn run<W>(self, mut input: Input, work: W, at_end: impl FnOnce(&Output)) -> Result<ExitStatus>
    where
        W: AsyncFn(&mut Record, &Output) -> Result<bool>,
    {
        let output = Output::stdout();
        let turns = Turns::default();
        let repeated = RepeatedFailures::default();
        let mut at_work = FuturesUnordered::new();
        let mut more = true;
        let mut ended = Ok(());
        let (mut interrupted, mut closed) = (false, false);
        while more || !at_work.is_empty() {
            tokio::select! {
                biased;
                () = self.tool.interrupted() => { interrupted = true; break; }
                () = output.closed() => { closed = true; break; }
                Some(()) = at_work.next(), if !at_work.is_empty() => {}
                next = input.next(), if more && at_work.len() < self.jobs => match next {
                    Ok(Some(line)) => at_work.push(self.one(line, &work, &output, &turns, &repeated)),
                    Ok(None) => more = false,
                    Err(failure) => { ended = Err(failure); more = false; }
                },
            }
        }
        let jobs = at_work.len();
        // What they still show on a terminal goes before anything more is said there.
        drop(at_work);
        repeated.report_counts(self.tool);
        if interrupted && jobs > 0 {
            self.tool.note(&format!("interrupted with {jobs} in progress; run the same command again to resume"));
        }
        if !interrupted && !closed {
            at_end(&output);
        }
        let status = output.finish().await?;
        ended.map(|()| self.tool.status_after(status))
    }

    /// One line from its arrival until its record has gone out.
    async fn one<W>(
        &self,
        line: Result<Record, (Vec<u8>, Failure)>,
        work: &W,
        output: &Output,
        turns: &Turns,
        repeated: &RepeatedFailures,
    ) where
        W: AsyncFn(&mut Record, &Output) -> Result<bool>,
    {
        let mut record = match line {
            Ok(record) => record,
            Err((start, failure)) => {
                repeated.report(self.tool, &failure);
                output.note_failure(&failure);
                return output.emit(&Record::from_bad_line(&start, &failure, self.tool.name())).await;
            }
        };
        let turn = turns.take(&record);
        let held = turn.lock.lock().await;
        let pass_by = record.has_error() && !self.takes_errors || record.is_pushed() && self.skips_pushed;
        let goes_out = if pass_by { Ok(true) } else { work(&mut record, output).await };
        let goes_out = goes_out.unwrap_or_else(|failure| {
            repeated.report(self.tool, &failure);
            output.note_failure(&failure);
            record.fail(self.tool.name(), &failure);
            true
        });
        if goes_out {
            output.emit(&record).await;
        }
        drop(held);
        turns.give_back(turn);
    }
}

/// The failures that were reported, by message. One that occurs again is counted and reported once more at the end.
#[derive(Default)]
struct RepeatedFailures(RefCell<BTreeMap<String, u64>>);

impl RepeatedFailures {
    /// The most messages that are remembered.
    const LIMIT: usize = 100;

    fn report(&self, tool: Tool, failure: &Failure) {
        let mut reported = self.0.borrow_mut();
        if let Some(count) = reported.get_mut(&failure.message) {
            *count += 1;
            return;
        }
        if reported.len() < Self::LIMIT {
            reported.insert(failure.message.clone(), 0);
        }
        tool.report_failure(failure);
    }

    fn report_counts(&self, tool: Tool) {
        for (message, count) in self.0.borrow().iter().filter(|(_, count)| **count > 0) {
            let records = if *count == 1 { "1 more record".to_owned() } else { format!("{count} more records") };
            tool.note(&format!("{records} failed in the same way: {message}"));
        }
    }
}

/// Who works on which job: records of one job take turns, in the order in which they came.
#[derive(Default)]
struct Turns {
    of: RefCell<HashMap<String, Rc<Mutex<()>>>>,
}

/// A record's place among those of its job.
struct Turn {
    job: Option<String>,
    lock: Rc<Mutex<()>>,
}

impl Turns {
    fn take(&self, record: &Record) -> Turn {
        let job = record.identity();
        let lock = match &job {
            Some(job) => Rc::clone(self.of.borrow_mut().entry(job.clone()).or_default()),
            None => Rc::default(),
        };
        Turn { job, lock }
    }

    /// Forgets a job nobody else waits for, so that memory does not grow with the records that have passed.
    fn give_back(&self, turn: Turn) {
        let mut of = self.of.borrow_mut();
        // One count is ours and one the map's.
        if Rc::strong_count(&turn.lock) == 2
            && let Some(job) = &turn.job
        {
            of.remove(job);
        }
    }
}
