//! Follows one job to its end.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::lease;
use ncaas_core::outcome::outcome_line;
use ncaas_core::pipe::Output;
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Logs, RecordFields, Status, StoppedBy};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::certificates::Certificates;
use super::log_file::LogFile;
use super::output_excerpt::OutputExcerpt;
use super::status_writer::{JobProgress, StatusWriter};
use crate::job_files::JobFiles;
use crate::log::{GAP, Line, LineReader, Log, LogTime, MissingOutput, Query, SavedLog, Stream};
use crate::usage::Sampler;

/// How long the engine's stream may be silent after the container's end before it is requested again.
const SILENCE: Duration = Duration::from_secs(5);

/// Values that always change, such as the CPU usage, are written after this many turns without other changes.
const IDLE_TURNS: u32 = 6;

/// A job that is being followed.
pub(crate) struct Follower {
    engine: Engine,
    writer: StatusWriter,
    /// None if its log driver keeps nothing.
    log: Option<LineReader<Log>>,
    /// Why the log could not be read, or not to its end.
    unreadable: Option<Failure>,
    /// Output that the log's sources have lost so far.
    missing: MissingOutput,
    output: JobOutput,
    /// The log that an earlier run has saved, when the container was created, and from which time on the engine still
    /// has the output.
    earlier: Option<(LineReader<SavedLog>, LogTime, LogTime)>,
    sampler: Sampler,
    container: Container,
    written: Option<WrittenState>,
}

/// The part of a job's output that is kept.
struct JobOutput {
    file: LogFile,
    excerpt: OutputExcerpt,
}

impl JobOutput {
    fn push(&mut self, line: &Line<'_>) {
        self.excerpt.push(line);
        self.file.push(line);
    }
}

/// Warnings about output that a log lacks.
fn describe_losses(missing: MissingOutput) -> Vec<String> {
    let counts = [
        (
            missing.replaced,
            "bytes of its output were not valid UTF-8; the engine's log driver `json-file` has replaced them",
        ),
        (missing.damaged, "lines of the engine's log files are damaged and left out"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts
        .map(|(count, what)| format!("{count} {what}"))
        .chain((missing.gaps > 0).then(|| missing_output(missing.gaps)))
        .collect()
}

fn missing_output(gaps: u64) -> String {
    format!(
        "the log lacks output in {}, which the engine removed before it was read: `--log-size` is too small",
        format_count(gaps, "place")
    )
}

/// The state of the job that its files describe.
#[derive(Debug, PartialEq)]
struct WrittenState {
    bytes: u64,
    state: String,
    started: bool,
    turn: u32,
}

impl Follower {
    pub(crate) fn start(
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        record: &Record,
        files: JobFiles,
        certificates: &Certificates,
    ) -> Result<Self> {
        let container = container_from_inspect(inspected);
        let follow = !container.has_ended();
        let query = Query { follow, caller_reports_end: follow, ..Query::default() };
        let (log, unreadable) = match Log::open(engine, inspected, query) {
            Ok(log) => (Some(LineReader::new(log)), None),
            Err(failure) => (None, Some(failure)),
        };
        let mut excerpt = OutputExcerpt::default();
        if let Some(failure) = &unreadable {
            excerpt.explain_missing(&failure.message);
        }
        let folder = files.open()?;
        if let Some(job) = &files.job {
            job.check_attempt(&folder)?;
        }
        let saved = folder.open_file(folder.relative(&files.log)).ok();
        let saved = saved.map(|(file, _)| LineReader::new(SavedLog::new(file, &files.log, Query::default())));
        let created = inspected.created.as_deref().and_then(|time| LogTime::parse(time.as_bytes()));
        let created = created.unwrap_or(LogTime::MIN);
        Ok(Follower {
            engine: engine.clone(),
            output: JobOutput { file: LogFile::new(&folder, &files.log)?, excerpt },
            earlier: saved.and_then(|saved| Some((saved, created, Log::first_kept(engine, inspected)?))),
            writer: StatusWriter::new(record, files, Some(inspected), certificates),
            log,
            unreadable,
            missing: MissingOutput::default(),
            sampler: Sampler::new(engine, &container),
            container,
            written: None,
        })
    }

    /// Follows the job to its end, and writes its files a last time.
    ///
    /// The record of a job from a bucket is emitted when it runs, so that `ncaas-sync push` can stop it if its
    /// submission is cancelled. With `live`, each record is emitted whenever the files have changed.
    pub(crate) async fn follow(
        &mut self,
        record: &mut Record,
        every: Duration,
        output: &Output,
        live: bool,
    ) -> Result<()> {
        self.keep_earlier_output().await;
        if self.container.has_ended() {
            // Inspecting does not show everything, for example who ended it. The engine's events may.
            self.container = self.engine.wait(&self.container.id).await.unwrap_or_else(|_| self.container.clone());
        } else {
            self.follow_running(record, every, output, live).await?;
        }
        self.note_cancellation();
        if let Some(log) = &mut self.log {
            log.source.note_end();
        }
        self.read_rest().await?;
        self.write_last(record).await
    }

    /// Keeps the output that an earlier run has saved and the engine has removed since. Lines before the container's
    /// creation are of another one, which was lost with its machine.
    async fn keep_earlier_output(&mut self) {
        let Some((mut saved, created, first)) = self.earlier.take() else { return };
        let mut last = None;
        let mut keep = |line: &Line<'_>| {
            if line.stamp < created {
                return;
            }
            last = Some(line.stamp);
            if line.stamp < first {
                self.output.push(line);
            }
        };
        // The lines after a damaged line are unknown.
        while saved.read(&mut keep).await.unwrap_or_default() {}
        if let Some(stamp) = last.filter(|last| *last < first) {
            let bytes = GAP.trim_ascii_end();
            self.output.push(&Line::whole(stamp, Stream::Stderr, bytes));
            self.missing.gaps += 1;
        }
    }

    async fn follow_running(
        &mut self,
        record: &mut Record,
        every: Duration,
        output: &Output,
        live: bool,
    ) -> Result<()> {
        let mut is_due = live || record.is_from_bucket();
        let engine = self.engine.clone();
        let id = self.container.id.clone();
        let mut end = std::pin::pin!(engine.wait(&id));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        loop {
            let Follower { log, output: job_output, sampler, .. } = self;
            let reading = async {
                match log {
                    Some(log) => log.read(|line| job_output.push(line)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut end => {
                    self.container = match ended {
                        Ok(container) => container,
                        // It was removed at once, as by `docker run --rm`. The engine's events show how it ended.
                        Err(failure) if failure.kind == Kind::ContainerNotFound => {
                            engine.exit_of_removed(&self.container).await.ok_or(failure)?
                        }
                        Err(failure) => return Err(failure),
                    };
                    return Ok(());
                }
                more = reading => {
                    self.output.file.flush_if_large()?;
                    if !more? {
                        self.finish_log();
                    }
                }
                () = sampler.next() => {}
                _ = ticks.tick() => {
                    turn += 1;
                    if self.is_changed(turn) {
                        // Its state may have changed too: it has started, or was paused.
                        if let Ok(inspected) = self.engine.inspect(&id).await {
                            let container = container_from_inspect(&inspected);
                            // Its end is reported once, when its whole log has been read.
                            if container.has_ended() {
                                continue;
                            }
                            self.container = container;
                        }
                        lease::check(record)?;
                        self.write(turn).await?;
                        if is_due {
                            self.update_record(record);
                            output.emit(record).await;
                            is_due = live;
                        }
                    }
                }
            }
        }
    }

    /// Says who stopped a job of a cancelled submission, which the engine cannot know.
    fn note_cancellation(&mut self) {
        if self.container.status != Some(Status::Success)
            && self.writer.files.job.as_ref().is_some_and(JobFolder::is_cancelled)
        {
            self.container.stopped_by = Some(StoppedBy::Cancelled);
        }
    }

    /// Reads the rest of the log after the container's end.
    async fn read_rest(&mut self) -> Result<()> {
        let mut silent_until = Instant::now() + SILENCE;
        let mut is_reopened = false;
        while let Some(log) = &mut self.log {
            let more = tokio::select! {
                more = log.read(|line| self.output.push(line)) => more,
                () = sleep_until(silent_until) => {
                    // The stream does not end by itself.
                    if is_reopened {
                        self.finish_log();
                        continue;
                    }
                    is_reopened = true;
                    log.source.stop_following();
                    Ok(true)
                }
            };
            silent_until = Instant::now() + SILENCE;
            self.output.file.flush_if_large()?;
            match more {
                Ok(true) => {}
                Ok(false) => self.finish_log(),
                // It was removed before its log could be read.
                Err(failure) => {
                    self.finish_log();
                    self.unreadable = Some(failure);
                }
            }
        }
        Ok(())
    }

    /// Closes the log at its end.
    fn finish_log(&mut self) {
        let Some(mut log) = self.log.take() else { return };
        log.finish(|line| self.output.push(line));
        self.missing.add(log.source.missing());
    }

    /// A warning about output that the job's log lacks, and why it could not be read.
    pub(crate) fn losses(&self) -> Option<String> {
        let mut losses = describe_losses(self.missing);
        losses.extend(self.unreadable.as_ref().map(|failure| failure.message.clone()));
        (!losses.is_empty()).then(|| losses.join("; "))
    }

    pub(crate) fn container_name(&self) -> &str {
        &self.container.name
    }

    /// Says how the job ended, for people.
    pub(crate) fn outcome(&self, record: &Record) -> Option<String> {
        outcome_line(record, Some(&self.writer.files.log))
    }

    fn is_changed(&self, turn: u32) -> bool {
        let Some(written) = &self.written else { return true };
        let changed = written.bytes != self.output.excerpt.bytes || written.state != "running" || !written.started;
        self.output.file.may_publish() && (changed || turn - written.turn >= IDLE_TURNS)
    }

    /// Writes the files. If the user removes their folder at this moment, it is created again.
    async fn write(&mut self, turn: u32) -> Result<()> {
        match self.write_files(turn).await {
            Err(failure) if failure.kind == Kind::FileNotFound => {
                self.written = None;
                self.write_files(turn).await
            }
            written => written,
        }
    }

    async fn write_files(&mut self, turn: u32) -> Result<()> {
        let bytes = self.output.excerpt.bytes;
        if self.written.as_ref().is_none_or(|written| written.bytes != bytes) {
            self.output.file.publish(&self.writer.files.open()?)?;
        }
        let sample = self.sampler.gauge().last();
        let progress = JobProgress { container: Some(&self.container), sample, failure: None };
        self.writer.write(&progress, &self.output.excerpt).await?;
        let started = self.container.started_at.is_some();
        self.written = Some(WrittenState { bytes, state: self.container.state.clone(), started, turn });
        Ok(())
    }

    /// Adds the job's state so far to the record.
    fn update_record(&self, record: &mut Record) {
        let dir = self.writer.files.logs.to_string_lossy().into_owned();
        record.set_container(self.container.clone());
        let is_stopped = self.container.stopped_by.is_some_and(StoppedBy::is_outside);
        let has_cause = record.is_failed() && !is_stopped;
        record.merge(&RecordFields {
            cause: if has_cause { self.output.excerpt.cause() } else { None },
            logs: Some(Logs { dir, lines: self.output.excerpt.line_count, bytes: self.output.excerpt.bytes }),
            usage: self.sampler.gauge().usage(),
            ..RecordFields::default()
        });
        if let Some(losses) = self.losses() {
            record.warn(losses);
        }
    }

    /// Writes the files of a job that could not be followed to its end.
    pub(crate) async fn write_failed(&mut self, record: &Record, failure: &str) -> Result<()> {
        self.finish_log();
        // `publish` leaves an incomplete log where it is.
        let published = self.writer.files.open().and_then(|folder| self.output.file.publish(&folder));
        let sample = self.sampler.gauge().last();
        let progress = JobProgress { container: Some(&self.container), sample, failure: Some(failure) };
        self.writer.write(&progress, &self.output.excerpt).await?;
        self.writer.save(record).and(published)
    }

    async fn write_last(&mut self, record: &mut Record) -> Result<()> {
        lease::check(record)?;
        self.written = None;
        self.write(0).await?;
        self.update_record(record);
        self.writer.save(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_gaps_is_described_with_its_other_losses() {
        let missing = MissingOutput { replaced: 3, damaged: 2, gaps: 1 };
        let words = describe_losses(missing).join("; ");
        for part in ["3 bytes of its output", "2 lines of the engine's log files", "lacks output in 1 place"] {
            assert!(words.contains(part), "{words}");
        }
        assert!(describe_losses(MissingOutput::default()).is_empty());
    }
}
