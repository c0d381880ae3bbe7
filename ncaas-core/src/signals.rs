//! Signals: a separate thread handles them, so that a tool always ends within a second.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

use crate::failure::{Failure, Kind, Result};
use crate::processes::field;

/// How long a tool may take to end after the first signal before it is ended.
const TIME_TO_END: Duration = Duration::from_millis(900);

/// The signal that this process has received; 0 for none.
static SIGNAL: AtomicU8 = AtomicU8::new(0);
static SIGNALLED: Notify = Notify::const_new();

/// Resolves when SIGINT, SIGTERM or SIGHUP was received.
pub(crate) async fn received() {
    loop {
        let notified = SIGNALLED.notified();
        if last_signal() != 0 {
            return;
        }
        notified.await;
    }
}

/// The signal that this process has received last; 0 for none.
pub(crate) fn last_signal() -> u8 {
    SIGNAL.load(Ordering::Acquire)
}

/// Begins to handle signals.
///
/// # Errors
/// If the process cannot listen for them.
pub(crate) fn handle_signals() -> Result<()> {
    // A program that `nohup` starts outlives its terminal.
    let hang_up = (!ignores_hang_up()).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up))
        .map_err(|error| Failure::new(Kind::Io, format!("cannot listen for signals: {error}")))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let signal = u8::try_from(signal).unwrap_or(SIGTERM as u8);
            let first = SIGNAL.swap(signal, Ordering::AcqRel) == 0;
            // A terminal that closes may send its signal more than once.
            if !first && i32::from(signal) != SIGHUP {
                end_now(signal);
            }
            SIGNALLED.notify_waiters();
            std::thread::spawn(move || {
                std::thread::sleep(TIME_TO_END);
                end_now(signal);
            });
        }
    });
    Ok(())
}

/// Whether this process was started with SIGHUP ignored.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = field(&status, "SigIgn:").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    ignored & (1 << (SIGHUP - 1)) != 0
}

#[expect(clippy::exit, reason = "the one place that ends a tool which does not end by itself")]
fn end_now(signal: u8) {
    std::process::exit(128 + i32::from(signal));
}
