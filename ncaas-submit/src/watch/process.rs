//! Which process a watcher is, so that another on the same machine can tell whether it still runs.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A process, told apart from all others that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// The machine since it was started, and the namespace that the number counts in (a container has one of its own).
    machine: String,
    pid: u32,
    /// When it started, in clock ticks since the machine did.
    started: u64,
}

impl Process {
    /// This process; none where the system does not tell (only Linux does).
    pub(super) fn this() -> Option<Self> {
        let pid = std::process::id();
        Some(Process { machine: machine()?, pid, started: started(pid)? })
    }

    /// Whether it runs; none where it is another machine's.
    pub(super) fn is_alive(&self) -> Option<bool> {
        (machine()? == self.machine).then(|| started(self.pid) == Some(self.started))
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When the process of that number started; none where there is none, or one that has ended and is not yet waited for.
fn started(pid: u32) -> Option<u64> {
    // proc(5): the second field is the program's name in parentheses, which may hold anything; then come the state and,
    // as the 22nd field, the time.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether some process has the file open for writing, as far as this one may look into others.
pub(super) fn is_written_to(path: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|target| target == path)).any(|file| {
            let about = process.path().join("fdinfo").join(file.file_name());
            fs::read_to_string(about).is_ok_and(|about| opened_for_writing(&about))
        })
    })
}

/// proc(5): the flags are octal, and their last two bits say for what the file was opened; 0 is for reading alone.
fn opened_for_writing(about: &str) -> bool {
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & 0o3 != 0)
}

/// Host name and process id, for people.
pub(crate) fn owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}

/// A name that no other watcher has had.
pub(super) fn unique_id() -> String {
    let seed = format!(
        "{} {:?} {:?} {:?}",
        owner(),
        Process::this(),
        std::time::SystemTime::now(),
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0)
    );
    Sha256::digest(seed.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot start a process has failed")]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_has_ended_is_dead_also_before_it_is_waited_for() {
        let this = Process::this().unwrap();
        assert_eq!(this.is_alive(), Some(true));
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let started = started(child.id()).unwrap();
        let process = Process { pid: child.id(), started, ..this.clone() };
        assert_eq!(process.is_alive(), Some(true));
        child.kill().unwrap();
        let mut end = Vec::new();
        std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut end).unwrap();
        while process.is_alive() == Some(true) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process.is_alive(), Some(false));
    }

    #[test]
    fn a_file_is_seen_to_be_written_to_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("submit.json");
        let file = fs::File::create(&path).unwrap();
        assert!(is_written_to(&path));
        drop(file);
        let _read = fs::File::open(&path).unwrap();
        assert!(!is_written_to(&path));
    }

    #[test]
    fn nothing_is_known_of_another_machines_process() {
        let process = Process { machine: "elsewhere".into(), pid: 1, started: 0 };
        assert_eq!(process.is_alive(), None);
    }
}
