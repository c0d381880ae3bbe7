//! Heartbeats: which watchers of a bucket run, and which have stopped or died.
//!
//! A watcher that has claims keeps an object at the bucket's root and changes it every few seconds. Another watcher
//! considers it dead after it has seen no change for [`ALIVE`]. Clocks of two machines are never compared. While the
//! bucket does not answer, silence does not count. On the same machine a watcher is dead as soon as its process is.
//!
//! A watcher that stops in good order leaves a heartbeat that holds its claims for a time. It is measured by the
//! bucket's own clock, from when the object was written. A watcher that starts on the same host takes these claims over
//! at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::WATCHERS;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::process::{self, Process, ProcessGroup};

/// How often a watcher changes its heartbeat.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long a heartbeat can stay unchanged until its watcher is considered dead: two missed updates plus a margin.
pub(crate) const ALIVE: Duration = Duration::from_secs(30);

/// How often another watcher's heartbeat is read.
pub(crate) const READ_INTERVAL: Duration = Duration::from_secs(5);

/// The longest time between two reads that counts as silence. After a longer one this watcher was suspended, or the
/// bucket was unreachable.
const MAX_GAP: Duration = Duration::from_secs(15);

/// The age at which a heartbeat is removed.
const STALE_HEARTBEAT: SignedDuration = SignedDuration::from_hours(24);

/// The age at which a probe object is removed: its writer was killed.
const STALE_PROBE: SignedDuration = SignedDuration::from_mins(10);

/// The largest heartbeat that is read, in bytes.
pub(super) const MAX_SIZE: u64 = 64 << 10;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Heartbeat {
    id: String,
    /// Host name and process id, for people.
    owner: String,
    pub(super) process: Option<Process>,
    /// Identity of the host, for a watcher that starts again there.
    host: String,
    /// Increases with every update.
    beat: u64,
    /// Set when the watcher has stopped: for how many seconds it holds its claims.
    pub(super) hold_s: Option<u64>,
    /// Whether the next watcher on the same host takes the held claims over immediately.
    resumable: bool,
    /// The pipe that works on the records of a watcher that has ended. When it has ended too, the next watcher on the
    /// same host takes the held claims over immediately.
    pipe: Option<ProcessGroup>,
}

/// The state of the watcher that has a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HolderState {
    Alive,
    /// It may run: its heartbeat has not changed yet, but the time limit has not passed.
    Unconfirmed,
    /// It has stopped, and holds its claims.
    Held,
    /// It has stopped or died on this host, where its containers still run.
    Resumable,
    /// The watcher and its host are dead.
    Gone,
}

impl HolderState {
    /// Whether its claims can be taken over.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, HolderState::Resumable | HolderState::Gone)
    }
}

/// The last reading of a heartbeat, and its changes so far.
#[derive(Debug, Clone)]
struct Observation {
    content: Vec<u8>,
    heartbeat: Heartbeat,
    /// When it was written, by the bucket's clock.
    written: Timestamp,
    /// How long it has been seen unchanged.
    silent: Duration,
    /// Whether it was seen to change.
    has_changed: bool,
    read: Instant,
}

impl Observation {
    /// The observation after reading the heartbeat once more.
    fn update(previous: Option<&Observation>, content: Vec<u8>, written: Timestamp, now: Instant) -> Self {
        let heartbeat = serde_json::from_slice(&content).unwrap_or_default();
        let Some(previous) = previous else {
            return Observation { content, heartbeat, written, silent: Duration::ZERO, has_changed: false, read: now };
        };
        let gap = now.duration_since(previous.read);
        let is_same = previous.content == content;
        let silent = if is_same && gap <= MAX_GAP { previous.silent + gap } else { Duration::ZERO };
        let has_changed = previous.has_changed || !is_same;
        Observation { content, heartbeat, written, silent, has_changed, read: now }
    }

    /// The state of the watcher. `process_runs` is none for a process of another machine, `now` the bucket's time.
    fn state(&self, this_host: &str, process_runs: Option<bool>, now: Timestamp) -> HolderState {
        let is_here = self.heartbeat.host == this_host || process_runs.is_some();
        if let Some(hold_s) = self.heartbeat.hold_s {
            let held = now.duration_since(self.written).as_secs() < i64::try_from(hold_s).unwrap_or(i64::MAX);
            let has_pipe_ended = || self.heartbeat.pipe.as_ref().is_some_and(ProcessGroup::has_ended);
            return if is_here && (self.heartbeat.resumable || !held || has_pipe_ended()) {
                HolderState::Resumable
            } else if held {
                HolderState::Held
            } else {
                HolderState::Gone
            };
        }
        match process_runs {
            Some(false) => HolderState::Resumable,
            // Its process was stopped, or cannot reach the bucket: others may take its claims over too.
            _ if self.silent >= ALIVE => {
                if is_here {
                    HolderState::Resumable
                } else {
                    HolderState::Gone
                }
            }
            Some(true) => HolderState::Alive,
            None if self.has_changed => HolderState::Alive,
            None => HolderState::Unconfirmed,
        }
    }
}

/// This watcher among the watchers of its bucket.
pub(crate) struct Watchers {
    bucket: Bucket,
    id: String,
    owner: String,
    host: String,
    beat: Cell<u64>,
    renewed: Cell<Option<Instant>>,
    /// The bucket's time at an instant.
    bucket_time: Cell<Option<(Instant, Timestamp)>>,
    observations: RefCell<HashMap<String, Observation>>,
}

impl Watchers {
    pub(crate) fn new(bucket: &Bucket) -> Self {
        Watchers {
            bucket: bucket.clone(),
            id: ncaas_core::files::random_id(),
            owner: process::owner(),
            host: process::host_id(),
            beat: Cell::default(),
            renewed: Cell::default(),
            bucket_time: Cell::default(),
            observations: RefCell::default(),
        }
    }

    /// This watcher's id, unique among all watchers.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// This watcher's host name and process id, for people.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Changes the heartbeat, unless it was changed a few seconds ago. Needed before the first claim and while there
    /// are claims.
    pub(crate) async fn renew(&self) -> Result<()> {
        if self.renewed.get().is_some_and(|renewed| renewed.elapsed() < INTERVAL) {
            return Ok(());
        }
        let began = Instant::now();
        self.write(None, false).await?;
        self.renewed.set(Some(began));
        Ok(())
    }

    /// Stops, and holds the claims for a time. `resumable`: the next watcher on this host takes them over at once.
    pub(crate) async fn stop(&self, hold: Duration, resumable: bool) -> Result<()> {
        if self.renewed.get().is_none() {
            return Ok(());
        }
        self.write(Some(hold.as_secs()), resumable).await
    }

    /// Stops without claims.
    pub(crate) async fn leave(&self) -> Result<()> {
        match self.renewed.take() {
            Some(_) => self.bucket.delete(&key(&self.id)?).await,
            None => Ok(()),
        }
    }

    async fn write(&self, hold_s: Option<u64>, resumable: bool) -> Result<()> {
        self.beat.set(self.beat.get() + 1);
        let heartbeat = Heartbeat {
            id: self.id.clone(),
            owner: self.owner.clone(),
            process: Process::current(),
            host: self.host.clone(),
            beat: self.beat.get(),
            hold_s,
            resumable,
            pipe: hold_s.and_then(|_| ProcessGroup::of_pipe()),
        };
        self.bucket.put(&key(&self.id)?, serde_json::to_vec(&heartbeat).unwrap_or_default()).await
    }

    pub(crate) async fn state(&self, id: &str) -> Result<HolderState> {
        if id == self.id {
            return Ok(HolderState::Alive);
        }
        let Ok(key) = key(id) else { return Ok(HolderState::Gone) };
        let is_recent = |seen: &Observation| seen.read.elapsed() < READ_INTERVAL;
        if !self.observations.borrow().get(id).is_some_and(is_recent) && !self.read(id, &key).await? {
            return Ok(HolderState::Gone);
        }
        let Some(seen) = self.observations.borrow().get(id).cloned() else { return Ok(HolderState::Gone) };
        let now = if seen.heartbeat.hold_s.is_some() { self.bucket_now().await? } else { Timestamp::UNIX_EPOCH };
        Ok(seen.state(&self.host, seen.heartbeat.process.as_ref().and_then(Process::is_alive), now))
    }

    /// Reads a heartbeat; false if there is none.
    async fn read(&self, id: &str, key: &Key) -> Result<bool> {
        let Some(entry) = self.bucket.head(key).await? else {
            self.observations.borrow_mut().remove(id);
            return Ok(false);
        };
        let content = match self.bucket.read(key, MAX_SIZE).await {
            Ok((content, _)) => content,
            Err(failure) if matches!(failure.kind, Kind::ObjectNotFound | Kind::TooLarge) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let mut observations = self.observations.borrow_mut();
        let seen = Observation::update(observations.get(id), content, entry.modified, Instant::now());
        observations.insert(id.to_owned(), seen);
        Ok(true)
    }

    /// The time by the bucket's clock: that of its server or file system.
    pub(crate) async fn bucket_now(&self) -> Result<Timestamp> {
        if self.bucket_time.get().is_none_or(|(at, _)| at.elapsed() > ALIVE) {
            let now = probe_bucket_time(&self.bucket).await?;
            self.bucket_time.set(Some((Instant::now(), now)));
        }
        let (at, time) = self.bucket_time.get().unwrap_or_else(|| (Instant::now(), Timestamp::now()));
        Ok(time.saturating_add(at.elapsed()).unwrap_or(time))
    }

    /// Removes objects that no running watcher needs: heartbeats that nobody has changed for a day, old probe objects,
    /// and those of processes that were killed on this machine.
    pub(crate) async fn remove_stale(&self) -> Result<()> {
        let now = self.bucket_now().await?;
        for (prefix, age) in [(WATCHERS, STALE_HEARTBEAT), (PROBE_PREFIX, STALE_PROBE)] {
            let mut listing = self.bucket.list(prefix, None);
            while let Some(page) = listing.next_page().await? {
                for entry in page.entries {
                    let probe = entry.key.as_str().strip_prefix(PROBE_PREFIX);
                    if now.duration_since(entry.modified) > age || probe.is_some_and(process::names_dead_process) {
                        self.bucket.delete(&entry.key).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The time by the bucket's clock, from an object that is written for it and deleted.
pub(super) async fn probe_bucket_time(bucket: &Bucket) -> Result<Timestamp> {
    let probe = probe_key()?;
    bucket.put(&probe, "time").await?;
    let entry = bucket.head(&probe).await;
    bucket.delete(&probe).await?;
    Ok(entry?.map_or_else(Timestamp::now, |entry| entry.modified))
}

/// How the keys of probe objects begin: those for the time, and those that test conditional writes.
const PROBE_PREFIX: &str = ".ncaas/ncaas-probe-";

/// The key of a new probe object of this process.
pub(crate) fn probe_key() -> Result<Key> {
    let process = Process::current().map(|process| process.name()).unwrap_or_default();
    Key::new(format!("{PROBE_PREFIX}{process}-{}", ncaas_core::files::random_id()))
}

pub(super) fn key(id: &str) -> Result<Key> {
    Key::new(format!("{WATCHERS}{id}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "this host";

    fn seen(heartbeat: &Heartbeat, silent_s: u64, has_changed: bool) -> Observation {
        Observation {
            content: Vec::new(),
            heartbeat: heartbeat.clone(),
            written: Timestamp::from_second(1000).unwrap(),
            silent: Duration::from_secs(silent_s),
            has_changed,
            read: Instant::now(),
        }
    }

    #[test]
    fn a_holder_is_judged_by_changes_processes_and_the_buckets_clock() {
        use HolderState::{Alive, Gone, Held, Resumable, Unconfirmed};
        let on = |host: &str| Heartbeat { host: host.to_owned(), ..Heartbeat::default() };
        let held = |host: &str, resumable| Heartbeat { hold_s: Some(60), resumable, ..on(host) };
        let cases = [
            // heartbeat, seconds of silence, seen to change, whether its process runs, bucket's time, state
            (on("b"), 0, false, None, 0, Unconfirmed),
            (on("b"), 29, true, None, 0, Alive),
            (on("b"), 30, true, None, 0, Gone),
            (on(HERE), 30, false, None, 0, Resumable),
            (on(HERE), 0, false, Some(true), 0, Alive),
            (on(HERE), 0, true, Some(false), 0, Resumable),
            (on(HERE), 30, true, Some(true), 0, Resumable),
            (held("b", true), 0, false, None, 1059, Held),
            (held("b", true), 99, false, None, 1059, Held),
            (held("b", true), 0, false, None, 1060, Gone),
            (held(HERE, true), 0, false, Some(false), 1001, Resumable),
            (held(HERE, false), 0, false, Some(false), 1001, Held),
            (held(HERE, false), 0, false, Some(false), 1060, Resumable),
        ];
        for (heartbeat, silent, changed, runs, now, expected) in cases {
            let state = seen(&heartbeat, silent, changed).state(HERE, runs, Timestamp::from_second(now).unwrap());
            assert_eq!(state, expected, "{heartbeat:?} {silent} {changed} {runs:?} {now}");
        }
    }

    #[test]
    fn silence_counts_only_while_the_heartbeat_can_be_read() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let read = |previous: Option<&Observation>, content: &str, seconds| {
            Observation::update(previous, content.into(), Timestamp::UNIX_EPOCH, at(seconds))
        };
        let first = read(None, "{}", 0);
        let later = read(Some(&first), "{}", 10);
        assert_eq!((later.silent, later.has_changed), (Duration::from_secs(10), false));
        let after_outage = read(Some(&later), "{}", 100);
        assert_eq!(after_outage.silent, Duration::ZERO, "the bucket was unreachable for everybody");
        let changed = read(Some(&after_outage), r#"{"beat":2}"#, 105);
        assert_eq!((changed.silent, changed.has_changed), (Duration::ZERO, true));
    }
}
