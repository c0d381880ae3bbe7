//! One job, from when it is first heard of to its end.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::Engine;
use ncaas_core::engine::container::container_from_inspect;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known, Logs};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::heard::Heard;
use super::log_file::LogFile;
use super::places::Places;
use super::report::{Now, Report};
use crate::log::{Log, Query, Rejoin};
use crate::usage::Sampler;

/// How long the engine's stream may stay silent after the container's end before it is no longer believed to end.
const SILENCE: Duration = Duration::from_secs(5);

/// How often what changes all the time, like the CPU's load, is alone a reason to write the files again.
const SELDOM: u32 = 6;

/// A job that is being followed.
pub(crate) struct Following {
    engine: Engine,
    report: Report,
    /// None where its driver keeps nothing that could be read.
    log: Option<Log>,
    unreadable: Option<Failure>,
    rejoin: Rejoin,
    file: LogFile,
    heard: Heard,
    sampler: Sampler,
    container: Container,
    written: Option<Written>,
}

/// What was known when the files were written last.
#[derive(Debug, PartialEq)]
struct Written {
    bytes: u64,
    state: String,
    started: bool,
    turn: u32,
}

impl Following {
    pub(crate) fn begin(
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        record: &Record,
        places: Places,
    ) -> Result<Self> {
        let container = container_from_inspect(inspected);
        let query = Query { follow: !container.has_ended(), ..Query::default() };
        let (log, unreadable) = match Log::open(engine, inspected, query) {
            Ok(log) => (Some(log), None),
            Err(failure) => (None, Some(failure)),
        };
        Ok(Following {
            engine: engine.clone(),
            file: LogFile::new(places.open()?, &places.log)?,
            report: Report::new(record, places, Some(inspected)),
            log,
            unreadable,
            rejoin: Rejoin::default(),
            heard: Heard::default(),
            sampler: Sampler::new(engine, &container),
            container,
            written: None,
        })
    }

    /// Follows it to its end, and writes everything a last time.
    ///
    /// With `live` the record goes out there whenever the files have changed.
    pub(crate) async fn follow(&mut self, record: &mut Record, every: Duration, live: Option<&Output>) -> Result<()> {
        if self.container.has_ended() {
            // What a look does not show, like who ended it, the engine's events may still tell.
            self.container = self.engine.wait(&self.container.id).await.unwrap_or_else(|_| self.container.clone());
        } else {
            self.while_it_runs(record, every, live).await?;
        }
        self.read_the_rest().await?;
        self.write_last(record)
    }

    async fn while_it_runs(&mut self, record: &mut Record, every: Duration, live: Option<&Output>) -> Result<()> {
        let engine = self.engine.clone();
        let id = self.container.id.clone();
        let mut end = std::pin::pin!(engine.wait(&id));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        loop {
            let Following { log, rejoin, file, heard, sampler, .. } = self;
            let reading = async {
                match log {
                    Some(log) => {
                        log.read(|entry| {
                            rejoin.push(entry, |line| {
                                heard.push(line);
                                file.push(line);
                            });
                        })
                        .await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut end => {
                    self.container = match ended {
                        Ok(container) => container,
                        // Removed at once, as `docker run --rm` does; the engine's events still tell how it ended.
                        Err(failure) if failure.kind == Kind::ContainerNotFound => {
                            engine.exit_of_removed(&self.container).await.ok_or(failure)?
                        }
                        Err(failure) => return Err(failure),
                    };
                    return Ok(());
                }
                more = reading => {
                    self.file.relieve()?;
                    if !more? {
                        self.finish_log();
                    }
                }
                () = sampler.next() => {}
                _ = ticks.tick() => {
                    turn += 1;
                    if self.is_changed(turn) {
                        // How it fares may have changed too: it has started, or was paused.
                        if let Ok(inspected) = self.engine.inspect(&id).await {
                            let container = container_from_inspect(&inspected);
                            // Its end is told once, when all of its log has been read.
                            if container.has_ended() {
                                continue;
                            }
                            self.container = container;
                        }
                        self.write(turn)?;
                        if let Some(output) = live {
                            self.tell(record);
                            output.emit(record).await;
                        }
                    }
                }
            }
        }
    }

    /// Reads what is left of the log after the container's end.
    async fn read_the_rest(&mut self) -> Result<()> {
        let mut silent_until = Instant::now() + SILENCE;
        let mut given_up = false;
        while let Some(log) = &mut self.log {
            let Following { rejoin, file, heard, .. } = self;
            let reading = log.read(|entry| {
                rejoin.push(entry, |line| {
                    heard.push(line);
                    file.push(line);
                });
            });
            let more = tokio::select! {
                more = reading => more,
                () = sleep_until(silent_until) => {
                    // The stream does not end by itself: a look at the whole log does.
                    if given_up {
                        self.finish_log();
                        continue;
                    }
                    given_up = true;
                    log.stop_following();
                    Ok(true)
                }
            };
            silent_until = Instant::now() + SILENCE;
            self.file.relieve()?;
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

    /// Nothing more comes of the log.
    fn finish_log(&mut self) {
        let Following { rejoin, file, heard, .. } = self;
        rejoin.finish(|line| {
            heard.push(line);
            file.push(line);
        });
        if let Some(log) = self.log.take() {
            let lost = log.lost();
            let said = |count: u64, words: &str| (count > 0).then(|| format!("{count} {words}"));
            let replaced = "bytes of its output were no UTF-8; the engine's log driver `json-file` has replaced them";
            let damaged = "lines of the engine's log files are damaged and left out";
            let words: Vec<String> =
                [said(lost.replaced, replaced), said(lost.damaged, damaged)].into_iter().flatten().collect();
            if !words.is_empty() {
                self.unreadable = Some(Failure::new(Kind::EngineError, words.join("; ")));
            }
        }
    }

    fn is_changed(&self, turn: u32) -> bool {
        let Some(written) = &self.written else { return true };
        let changed = written.bytes != self.heard.bytes || written.state != "running" || !written.started;
        self.file.may_publish() && (changed || turn - written.turn >= SELDOM)
    }

    fn write(&mut self, turn: u32) -> Result<()> {
        let bytes = self.heard.bytes;
        if self.written.as_ref().is_none_or(|written| written.bytes != bytes) {
            self.file.publish()?;
        }
        let now = Now { container: Some(&self.container), sample: self.sampler.gauge().last(), failure: None };
        self.report.write(&now, &self.heard)?;
        let started = self.container.started_at.is_some();
        self.written = Some(Written { bytes, state: self.container.state.clone(), started, turn });
        Ok(())
    }

    /// Puts what is known by now on the record.
    fn tell(&self, record: &mut Record) {
        let dir = self.report.places.logs.to_string_lossy().into_owned();
        record.set_container(self.container.clone());
        record.merge(&Known {
            logs: Some(Logs { dir, lines: self.heard.lines, bytes: self.heard.bytes }),
            usage: self.sampler.gauge().usage(),
            ..Known::default()
        });
        if let Some(failure) = &self.unreadable {
            record.warn(failure.message.clone());
        }
    }

    /// Writes what there is of a job that could not be followed to its end.
    ///
    /// # Errors
    /// When the job's logs cannot be written.
    pub(crate) fn write_failed(&mut self, record: &Record, failure: &str) -> Result<()> {
        self.finish_log();
        // A log that could not be written whole is not put where whole logs are.
        let published = self.file.publish();
        let sample = self.sampler.gauge().last();
        self.report.write(&Now { container: Some(&self.container), sample, failure: Some(failure) }, &self.heard)?;
        self.report.save(record).and(published)
    }

    fn write_last(&mut self, record: &mut Record) -> Result<()> {
        self.written = None;
        self.write(0)?;
        self.tell(record);
        self.report.save(record)
    }
}
