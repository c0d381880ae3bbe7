//! When the Docker Engines of this machine were started. The API does not say it.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;

/// Clock ticks of a second in `/proc`, which do not depend on the kernel's configuration.
const TICKS: f64 = 100.0;

/// Whether a running `dockerd` of this machine was started between `from` and `to`.
pub(super) fn daemon_started_between(from: Timestamp, to: Timestamp) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|process| process.path());
    let daemons =
        processes.filter(|process| fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "dockerd"));
    daemons
        .filter_map(|daemon| start_time(&fs::read_to_string(daemon.join("stat")).ok()?))
        .any(|start| from < start && start <= to)
}

fn start_time(stat: &str) -> Option<Timestamp> {
    // proc(5): the 22nd field, in ticks since the boot. The second, the program's name, is in parentheses.
    let ticks: f64 = stat.rsplit_once(") ")?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Timestamp::now().checked_sub(Duration::try_from_secs_f64(uptime - ticks / TICKS).ok()?).ok()
}
