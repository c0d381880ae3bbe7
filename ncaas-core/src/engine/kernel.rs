//! What the kernel of this machine says about processes that it has killed for memory.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// The kernel's log, one record a read.
const LOG: &str = "/dev/kmsg";
/// The longest record that the kernel gives (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;
/// How the record of a kill begins (`mm/oom_kill.c`, `dump_oom_victim`); the control groups of the limit and of the
/// process stand in it, and each is named after its container.
const KILLED: &str = "oom-kill:";

/// How many processes the kernel has killed for memory since this machine started (`oom_kill` in `/proc/vmstat`); none
/// where it does not say.
pub(super) fn killed_for_memory() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

/// Whether the kernel's log tells of a process of this container, by its full id, that was killed for memory. None where
/// the log cannot be read: it may be for root alone. It holds the last of what the kernel has said.
pub(super) fn log_tells_of(container: &str) -> Option<bool> {
    let non_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = OpenOptions::new().read(true).custom_flags(non_blocking).open(LOG).ok()?;
    let mut record = [0; RECORD];
    while let Some(length) = next(&mut log, &mut record)? {
        let text = String::from_utf8_lossy(&record[..length]);
        if text.split_once(';').is_some_and(|(_, words)| words.starts_with(KILLED) && words.contains(container)) {
            return Some(true);
        }
    }
    Some(false)
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
