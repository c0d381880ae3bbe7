//! What the kernel of this machine says about processes that it has killed for memory.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use jiff::Timestamp;

/// The kernel's log, one record a read.
const LOG: &str = "/dev/kmsg";
/// The longest record that the kernel gives (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// How the record of a kill begins (`mm/oom_kill.c`, `dump_oom_victim`); the control groups of the limit and of the
/// process stand in it, and each is named after its container.
const KILLED: &str = "oom-kill:";

/// How long after a process's end an engine may still take it for one that runs.
const HEARSAY: Duration = Duration::from_secs(1);

/// How many processes the kernel had killed for memory by some moment, since this machine started.
#[derive(Debug, Clone, Copy)]
pub(super) struct KilledForMemory {
    processes: u64,
    at: Timestamp,
}

impl KilledForMemory {
    /// As many as now (`oom_kill` in `/proc/vmstat`); none where the kernel does not say.
    pub(super) fn by_now() -> Option<Self> {
        let at = Timestamp::now();
        let counters = fs::read_to_string("/proc/vmstat").ok()?;
        let processes = counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())?;
        Some(KilledForMemory { processes, at })
    }

    /// Whether none has been killed from that moment on until now, and a process that ended at `end` was alive then.
    pub(super) fn are_all_before(self, end: Timestamp) -> bool {
        self.at + HEARSAY <= end && Self::by_now().is_some_and(|now| now.processes == self.processes)
    }
}

/// Whether the kernel's log tells of a process of this container, by its full id, that was killed for memory in the last
/// `time`. None where the log cannot be read, for it may be for root alone; or where it tells of none and has lost what the
/// kernel said in the beginning of that time.
pub(super) fn log_tells_of(container: &str, time: Duration) -> Option<bool> {
    let non_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = OpenOptions::new().read(true).custom_flags(non_blocking).open(LOG).ok()?;
    let mut record = [0; RECORD];
    let mut is_whole = None;
    while let Some(length) = next(&mut log, &mut record)? {
        let text = String::from_utf8_lossy(&record[..length]);
        is_whole = is_whole.or_else(|| reaches_back(&text, time, clock()));
        if text.split_once(';').is_some_and(|(_, words)| words.starts_with(KILLED) && words.contains(container)) {
            return Some(true);
        }
    }
    // Of a log in which nothing is nothing is known.
    is_whole.unwrap_or_default().then_some(false)
}

/// Whether a log whose oldest record this is has lost nothing of the last `time`. Before the text stand a level, the
/// record's number from 0 on and its microseconds on `clock` (`Documentation/ABI/testing/dev-kmsg`).
fn reaches_back(oldest: &str, time: Duration, clock: Duration) -> Option<bool> {
    let mut head = oldest.split([',', ';']).skip(1).map(|number| number.parse().ok());
    let (number, at): (u64, _) = (head.next()??, Duration::from_micros(head.next()??));
    Some(number == 0 || clock.saturating_sub(at) >= time)
}

/// The clock of the kernel's log, which stands still while the machine sleeps.
fn clock() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).try_into().unwrap_or_default()
}

/// The length of the next record; none after the last one.
fn next(log: &mut File, record: &mut [u8]) -> Option<Option<usize>> {
    loop {
        match log.read(record) {
            Ok(0) => return Some(None),
            Ok(length) => return Some(Some(length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(None),
            // It was overwritten while we read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe || error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose kernel does not count has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_count_from_just_before_the_end_proves_nothing() {
        let killed = KilledForMemory::by_now().unwrap();
        assert!(!killed.are_all_before(killed.at + HEARSAY / 2));
        assert!(killed.are_all_before(killed.at + HEARSAY * 2));
        let fewer = KilledForMemory { processes: killed.processes + 1, ..killed };
        assert!(!fewer.are_all_before(killed.at + HEARSAY * 2));
    }

    #[test]
    fn a_log_that_has_lost_its_beginning_proves_nothing_of_the_time_before() {
        let reaches = |oldest: &str, minutes: u64| {
            reaches_back(oldest, Duration::from_secs(60 * minutes), Duration::from_secs(3600))
        };
        assert_eq!(reaches("6,0,3500000000,-;Linux version 6", 60), Some(true));
        assert_eq!(reaches("4,339,3000000000,c;x", 10), Some(true));
        assert_eq!(reaches("4,339,3000000000,c;x", 11), Some(false));
        assert_eq!(reaches("", 1), None);
    }
}
