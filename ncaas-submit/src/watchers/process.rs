//! The identity of a watcher's process and host, so that another watcher can find out whether it still runs.

use std::fs;
use std::path::Path;

use ncaas_core::layout;
use ncaas_core::pipe::stdout_is_pipe;
use ncaas_core::processes::{field, process_ids, stat_fields};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A process, distinguished from earlier and later ones with the same process id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// The machine's boot id, and the PID namespace (a container has its own).
    machine: String,
    pid: u32,
    /// When it started, in clock ticks since the boot.
    started: u64,
}

impl Process {
    /// This process; none on systems other than Linux.
    pub(super) fn current() -> Option<Self> {
        let pid = std::process::id();
        Some(Process { machine: boot_id()?, pid, started: start_time(pid)? })
    }

    /// The part of an object's name that identifies the process.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-{}", layout::short_hash(&self.machine), self.pid, self.started)
    }

    /// Whether it runs; none for a process of another machine.
    pub(super) fn is_alive(&self) -> Option<bool> {
        (boot_id()? == self.machine).then(|| start_time(self.pid) == Some(self.started))
    }
}

/// Whether a name begins with a process of this machine that has ended.
pub(super) fn names_dead_process(name: &str) -> bool {
    let mut parts = name.split('-');
    let is_here = boot_id().is_some_and(|machine| parts.next() == Some(&layout::short_hash(&machine)));
    let mut number = || parts.next()?.parse::<u64>().ok();
    let process = number().and_then(|pid| u32::try_from(pid).ok()).zip(number());
    is_here && process.is_some_and(|(pid, started)| start_time(pid) != Some(started))
}

/// The boot id of this machine and the PID namespace of this process.
fn boot_id() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The processes that a shell started together with this one, as the stages of one pipe. A shell without job control is
/// itself in the group, and so are the pipes that it starts later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessGroup {
    machine: String,
    id: u32,
    /// When this process started, the first stage of its pipe, in clock ticks since the boot.
    #[serde(default)]
    began: u64,
    /// The time at which all stages had started.
    #[serde(default = "forever")]
    complete: u64,
    /// The processes that read this one's output: the next stage, or a program that started this one.
    #[serde(default)]
    readers: Vec<Process>,
}

fn forever() -> u64 {
    u64::MAX
}

impl ProcessGroup {
    /// The group of this process, if its stdout is a pipe.
    pub(super) fn of_pipe() -> Option<Self> {
        if !stdout_is_pipe() {
            return None;
        }
        let own = std::process::id();
        let id = process_group_of(&stat_fields(own)?).filter(|id| *id > 0)?;
        let (began, complete) = (start_time(own)?, ticks_since_boot());
        Some(ProcessGroup { machine: boot_id()?, id, began, complete, readers: readers_of_stdout() })
    }

    /// Whether all stages have ended. A zombie counts as ended. False for a group of another machine.
    pub(super) fn has_ended(&self) -> bool {
        if boot_id().as_ref() != Some(&self.machine) {
            return false;
        }
        let shells = ancestors();
        let is_member = |pid: &u32| stat_fields(*pid).is_some_and(|fields| process_group_of(&fields) == Some(self.id));
        let is_stage = |pid: u32| {
            start_time(pid).is_some_and(|started| (self.began..self.complete).contains(&started))
                && !shells.contains(&pid)
        };
        let has_reader = self.readers.iter().any(|reader| reader.is_alive() == Some(true));
        !has_reader && !process_ids().filter(is_member).any(is_stage)
    }
}

/// The time since the boot in clock ticks, as start times of processes are. A container may see another `/proc/uptime`.
fn ticks_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // proc(5): a tick is 1/100 s.
    u64::try_from(now.tv_sec).unwrap_or_default() * 100 + u64::try_from(now.tv_nsec).unwrap_or_default() / 10_000_000
}

/// The processes that have the other end of this one's stdout, a pipe. Processes of other users are not visible.
fn readers_of_stdout() -> Vec<Process> {
    let (Some(machine), Ok(stdout)) = (boot_id(), fs::read_link("/proc/self/fd/1")) else { return Vec::new() };
    let readers = process_ids().filter(|pid| open_files(*pid, &stdout).any(|fdinfo| !has_write_flag(&fdinfo)));
    readers.filter_map(|pid| Some(Process { machine: machine.clone(), pid, started: start_time(pid)? })).collect()
}

/// The `fdinfo` of each descriptor of a process that is open on this file.
fn open_files(pid: u32, path: &Path) -> impl Iterator<Item = String> {
    let process = Path::new("/proc").join(pid.to_string());
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .filter(move |file| fs::read_link(file.path()).is_ok_and(|target| target == path))
        .filter_map(move |file| fs::read_to_string(process.join("fdinfo").join(file.file_name())).ok())
}

/// proc(5): the process group is the third field after the program's name. It is 0 for a group of another PID
/// namespace.
fn process_group_of(fields: &[String]) -> Option<u32> {
    fields.get(2)?.parse().ok()
}

/// The processes that started this one, directly or not.
fn ancestors() -> Vec<u32> {
    let parent = |pid: &u32| stat_fields(*pid)?.get(1)?.parse().ok().filter(|parent| *parent > 0);
    std::iter::successors(Some(std::process::id()), parent).collect()
}

/// When a process started; none if it does not exist or is a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    if matches!(fields.first()?.as_str(), "Z" | "X") {
        return None;
    }
    // proc(5): the 22nd field is the start time.
    fields.get(19)?.parse().ok()
}

/// Whether a process has the file open for writing. Processes of other users are not visible.
pub(crate) fn is_open_for_writing(path: &Path) -> bool {
    process_ids().any(|pid| open_files(pid, path).any(|fdinfo| has_write_flag(&fdinfo)))
}

/// proc(5): the flags are octal. The last two bits are the access mode; 0 is read-only.
fn has_write_flag(fdinfo: &str) -> bool {
    let flags = field(fdinfo, "flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    flags.is_some_and(|flags| flags & 0o3 != 0)
}

/// Host name and process id, for people.
pub(crate) fn owner() -> String {
    format!("{}:{}", host_name(), std::process::id())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The identity of this host, which outlives its boots: several machines can have the same name, or be clones of one
/// image.
pub(super) fn host_id() -> String {
    let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    layout::short_hash(&format!("{}\n{}", host_name(), machine_id.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_zombie_is_a_dead_process() {
        let this = Process::current().unwrap();
        assert_eq!(this.is_alive(), Some(true));
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let started = start_time(child.id()).unwrap();
        let process = Process { pid: child.id(), started, ..this.clone() };
        assert_eq!(process.is_alive(), Some(true));
        assert!(!names_dead_process(&format!("{}-0a", process.name())));
        child.kill().unwrap();
        let mut end = Vec::new();
        std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut end).unwrap();
        while process.is_alive() == Some(true) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process.is_alive(), Some(false));
        assert!(names_dead_process(&format!("{}-0a", process.name())));
        let elsewhere = Process { machine: "elsewhere".into(), ..process };
        assert!(!names_dead_process(&elsewhere.name()) && !names_dead_process("0a") && !names_dead_process(""));
    }

    #[test]
    fn a_process_starts_between_two_readings_of_the_clock() {
        let before = ticks_since_boot();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let started = start_time(child.id()).unwrap();
        assert!((before..=ticks_since_boot()).contains(&started), "{before} {started}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_file_is_open_for_writing_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("submit.json");
        let file = fs::File::create(&path).unwrap();
        assert!(is_open_for_writing(&path));
        drop(file);
        let _read = fs::File::open(&path).unwrap();
        assert!(!is_open_for_writing(&path));
    }

    #[test]
    fn a_process_of_another_machine_is_neither_alive_nor_dead() {
        let process = Process { machine: "elsewhere".into(), pid: 1, started: 0 };
        assert_eq!(process.is_alive(), None);
    }
}
