//! Stopping a container: the grace period, and whether its first process acts on the signal.
//!
//! The kernel discards a signal that the first process of a container neither handles nor ignores, where it would end
//! any other process. `sh -c 'sleep 100'` never ends at TERM: to wait for it only lets a job run on after its limit.

use async_recursion::async_recursion as boxed;
use bollard::query_parameters::StopContainerOptions;

use super::connection::Engine;
use super::errors::{EngineContext, Subject};
use super::reference;
use crate::failure::Result;
use crate::processes::field;

/// Between the signal that asks a job to end (TERM, unless its image says otherwise) and KILL, in seconds.
pub const STOP_GRACE_S: i32 = 10;

/// Signals by which images are stopped, with their numbers on Linux.
const SIGNALS: [(&str, u32); 7] =
    [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15), ("WINCH", 28)];

impl Engine {
    /// Stops a container: the stop signal, and KILL after `grace` seconds, or at once if the signal has no effect on
    /// it. Does nothing if it has ended.
    ///
    /// # Errors
    /// [`ContainerNotFound`](crate::failure::Kind::ContainerNotFound), or the engine does not answer or cannot do it.
    #[boxed]
    pub async fn stop(&self, id: &str, grace: i32) -> Result<()> {
        let grace = if self.discards_stop_signal(id).await { 0 } else { grace };
        if self.is_podman().await {
            return self.stop_by_signals(id, grace).await;
        }
        let id = reference::container(id)?;
        let options = StopContainerOptions { t: Some(grace), ..Default::default() };
        self.docker().stop_container(id, Some(options)).await.engine_context("stop", Subject::Container(id))
    }

    /// Whether the kernel discards a container's stop signal. False if that is not known, as for a remote engine.
    async fn discards_stop_signal(&self, id: &str) -> bool {
        if self.is_remote() {
            return false;
        }
        let Ok(inspected) = self.inspect(id).await else { return false };
        let signal = inspected.config.and_then(|config| config.stop_signal).unwrap_or_default();
        let pid = inspected.state.and_then(|state| state.pid).unwrap_or_default();
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
        signal_number(&signal).is_some_and(|signal| is_discarded(&status, signal))
    }
}

/// The number of a signal: `SIGTERM`, `TERM` or `15`; the engine's default if it is empty.
fn signal_number(name: &str) -> Option<u32> {
    let name = if name.is_empty() { "TERM" } else { name.strip_prefix("SIG").unwrap_or(name) };
    let known = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
}

/// Whether a process with this `/proc/PID/status` (`proc(5)`) is the first of its PID namespace and neither handles nor
/// ignores a signal.
fn is_discarded(status: &str, signal: u32) -> bool {
    let has_signal = |name: &str| {
        let mask = field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_none_or(|mask| mask & 1 << (signal - 1) != 0)
    };
    // Its numbers in each namespace; one number alone is not in a container.
    let numbers: Vec<&str> =
        field(status, "NSpid:").map(|numbers| numbers.split_whitespace().collect()).unwrap_or_default();
    numbers.len() > 1 && numbers.last() == Some(&"1") && !has_signal("SigCgt:") && !has_signal("SigIgn:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_discarded_if_the_first_process_neither_handles_nor_ignores_it() {
        let status = |numbers: &str, ignored: &str, handled: &str| {
            format!("Name:\tsleep\nNSpid:\t{numbers}\nSigIgn:\t{ignored}\nSigCgt:\t{handled}\n")
        };
        let term = "0000000000004000";
        let none = "0000000000000000";
        assert!(is_discarded(&status("4711\t1", none, "0000000180000002"), 15));
        assert!(!is_discarded(&status("4711\t1", term, none), 15));
        assert!(!is_discarded(&status("4711\t1", none, term), 15));
        assert!(is_discarded(&status("4711\t1", none, term), 2));
        assert!(!is_discarded(&status("4711", none, none), 15), "not in a container");
        assert!(!is_discarded(&status("4711\t7", none, none), 15), "not the first process");
        assert!(!is_discarded("", 15));
    }

    #[test]
    fn a_stop_signal_is_a_name_or_a_number() {
        let numbers = ["", "SIGTERM", "INT", "9", "SIGRTMIN+3", "0", "99"].map(signal_number);
        assert_eq!(numbers, [Some(15), Some(15), Some(2), Some(9), None, None, None]);
    }
}
