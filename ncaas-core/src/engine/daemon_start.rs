//! When the Docker Engines of this machine were started. The API does not say it.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use crate::processes::{process_ids, stat_fields};

/// Clock ticks of a second in `/proc`, which do not depend on the kernel's configuration.
const TICKS: f64 = 100.0;

/// Whether a running `dockerd` of this machine was started between `from` and `to`.
pub(super) fn daemon_started_between(from: Timestamp, to: Timestamp) -> bool {
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm"));
    let daemons = process_ids().filter(|pid| name(*pid).is_ok_and(|name| name.trim() == "dockerd"));
    daemons.filter_map(start_time).any(|start| from < start && start <= to)
}

fn start_time(pid: u32) -> Option<Timestamp> {
    // proc(5): the 22nd field, in ticks since the boot.
    let ticks: f64 = stat_fields(pid)?.get(19)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Timestamp::now().checked_sub(Duration::try_from_secs_f64(uptime - ticks / TICKS).ok()?).ok()
}
