//! Processes that the kernel of this machine has killed for memory: its count, and its log.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use jiff::Timestamp;

/// The kernel's log, one record a read.
const LOG: &str = "/dev/kmsg";
/// The longest record that the kernel gives (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// The beginning of the record of a kill (`mm/oom_kill.c`, `dump_oom_victim`); it names the control groups of the
/// limit and of the process, and each is named after its container.
const KILLED: &str = "oom-kill:";

/// How long an engine may report a process as running after its end.
const STATE_DELAY: Duration = Duration::from_secs(1);

/// How many processes the kernel has killed for memory since this machine started, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct OomKillCount {
    processes: u64,
    at: Timestamp,
}

impl OomKillCount {
    /// The count now (`oom_kill` in `/proc/vmstat`); `None` if the kernel has none.
    pub(super) fn read() -> Option<Self> {
        let at = Timestamp::now();
        let counters = fs::read_to_string("/proc/vmstat").ok()?;
        let processes = counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())?;
        Some(OomKillCount { processes, at })
    }

    /// Whether no process was killed between this count and now, and a process that ended at `end` was still alive at
    /// this count.
    pub(super) fn is_unchanged_since(self, end: Timestamp) -> bool {
        self.at + STATE_DELAY <= end && Self::read().is_some_and(|now| now.processes == self.processes)
    }
}

/// Whether the kernel's log shows that a process of this container, by its full id, was killed for memory within the
/// last `time`. `None` if the log cannot be read (it may be for root alone), or if it shows no kill and does not go
/// back that far.
pub(super) fn log_shows_oom_kill(container: &str, time: Duration) -> Option<bool> {
    let non_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = OpenOptions::new().read(true).custom_flags(non_blocking).open(LOG).ok()?;
    let mut record = [0; RECORD];
    let mut is_whole = None;
    while let Some(length) = read_record(&mut log, &mut record)? {
        let text = String::from_utf8_lossy(&record[..length]);
        is_whole = is_whole.or_else(|| reaches_back(&text, time, clock()));
        if text.split_once(';').is_some_and(|(_, words)| words.starts_with(KILLED) && words.contains(container)) {
            return Some(true);
        }
    }
    // An empty log proves nothing.
    is_whole.unwrap_or_default().then_some(false)
}

/// Whether a log whose oldest record is `oldest` covers the last `time`. A record begins with a level, its number from 0 on, and
/// its time on `clock` in microseconds (`Documentation/ABI/testing/dev-kmsg`).
fn reaches_back(oldest: &str, time: Duration, clock: Duration) -> Option<bool> {
    let mut head = oldest.split([',', ';']).skip(1).map(|number| number.parse().ok());
    let (number, at): (u64, _) = (head.next()??, Duration::from_micros(head.next()??));
    Some(number == 0 || clock.saturating_sub(at) >= time)
}

/// The clock of the kernel's log, which stands still while the machine sleeps.
fn clock() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).try_into().unwrap_or_default()
}

/// Reads the next record and returns its length; `None` after the last one.
fn read_record(log: &mut File, record: &mut [u8]) -> Option<Option<usize>> {
    loop {
        match log.read(record) {
            Ok(0) => return Some(None),
            Ok(length) => return Some(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(None),
            // The record was overwritten meanwhile.
            Err(error) if error.kind() == ErrorKind::BrokenPipe || error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_from_just_before_the_end_proves_nothing() {
        let killed = OomKillCount::read().unwrap();
        assert!(!killed.is_unchanged_since(killed.at + STATE_DELAY / 2));
        assert!(killed.is_unchanged_since(killed.at + STATE_DELAY * 2));
        let fewer = OomKillCount { processes: killed.processes + 1, ..killed };
        assert!(!fewer.is_unchanged_since(killed.at + STATE_DELAY * 2));
    }

    #[test]
    fn a_log_without_its_beginning_proves_nothing_about_the_time_before() {
        let reaches = |oldest: &str, minutes: u64| {
            reaches_back(oldest, Duration::from_secs(60 * minutes), Duration::from_secs(3600))
        };
        assert_eq!(reaches("6,0,3500000000,-;Linux version 6", 60), Some(true));
        assert_eq!(reaches("4,339,3000000000,c;x", 10), Some(true));
        assert_eq!(reaches("4,339,3000000000,c;x", 11), Some(false));
        assert_eq!(reaches("", 1), None);
    }
}
