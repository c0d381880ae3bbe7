//! The programs that read this one's records, directly or through others: the stages that come later in its pipe.
//!
//! Each end of a job is reported by the stage that knows most about it, so a stage must know which ones follow. The
//! kernel says who reads a pipe: a process whose stdin has the number of the pipe. Stages of another user or on another
//! machine are not found, and an end is then reported without what they know.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::processes::process_ids;
use crate::text::base_name;

/// How often programs that the shell has not started yet are looked for again.
const CHECKS: u32 = 20;
/// The pause between two such checks.
const PAUSE: Duration = Duration::from_millis(5);

/// The later stages that know more about a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaterStages {
    /// `ncaas-logs save`, which knows where the log is.
    pub(crate) saves: bool,
    /// `ncaas-sync collect`, which knows the results.
    pub(crate) collects: bool,
    /// `ncaas-exec rm`, which knows the containers that are left.
    pub(crate) removes: bool,
}

impl LaterStages {
    /// Finds the programs behind this process. The shell may not have started all of them yet, for which this waits a
    /// little.
    pub(crate) fn find() -> Self {
        let Some(pipe) = pipe_at(Path::new("/proc/self"), "1") else { return LaterStages::default() };
        let shell = fs::read_link(format!("/proc/{}/exe", parent_id())).ok();
        let is_shell = |process: &PathBuf| fs::read_link(process.join("exe")).ok() == shell;
        let mut checks = CHECKS;
        let programs = loop {
            let programs = programs_behind(pipe);
            let are_started = !programs.is_empty() && !programs.iter().any(is_shell);
            if are_started || checks == 0 {
                break programs;
            }
            checks -= 1;
            sleep(PAUSE);
        };
        let command = |process: &PathBuf| fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        Self::among(&programs.iter().map(command).collect::<Vec<_>>())
    }

    /// The stages among the command lines of programs, whose arguments end in NUL.
    fn among(commands: &[String]) -> Self {
        let is_stage = |tool: &str, verb: &str| {
            commands.iter().map(|command| command.split('\0')).any(|mut arguments| {
                arguments.next().is_some_and(|program| base_name(program) == tool) && arguments.next() == Some(verb)
            })
        };
        LaterStages {
            saves: is_stage("ncaas-logs", "save"),
            collects: is_stage("ncaas-sync", "collect"),
            removes: is_stage("ncaas-exec", "rm"),
        }
    }
}

/// The folders in `/proc` of the programs that read a pipe, directly or through others.
fn programs_behind(mut pipe: u64) -> Vec<PathBuf> {
    let processes = process_ids().map(|id| PathBuf::from(format!("/proc/{id}")));
    let mut readers: HashMap<u64, PathBuf> =
        processes.filter_map(|process| Some((pipe_at(&process, "0")?, process))).collect();
    let mut programs = Vec::new();
    while let Some(process) = readers.remove(&pipe) {
        let next = pipe_at(&process, "1");
        programs.push(process);
        match next {
            Some(next) => pipe = next,
            None => break,
        }
    }
    programs
}

/// The number of the pipe that a process has as the stream with this number.
fn pipe_at(process: &Path, stream: &str) -> Option<u64> {
    pipe_number(&fs::read_link(process.join("fd").join(stream)).ok()?)
}

/// The number of a pipe from the target of its link: `pipe:[NUMBER]`.
fn pipe_number(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_known_by_their_program_and_verb() {
        let among = |commands: &[&str]| {
            LaterStages::among(&commands.iter().map(|command| command.replace(' ', "\0")).collect::<Vec<_>>())
        };
        let both = LaterStages { saves: true, collects: true, ..LaterStages::default() };
        assert_eq!(among(&["jq -c .", "/usr/bin/ncaas-logs save --live", "ncaas-sync collect "]), both);
        let collects = LaterStages { collects: true, ..LaterStages::default() };
        assert_eq!(among(&["ncaas-logs lines", "grep ncaas-logs save", "ncaas-sync collect"]), collects);
        assert_eq!(among(&["ncaas-sync push", ""]), LaterStages::default());
    }

    #[test]
    fn a_pipe_has_a_number_and_a_file_has_none() {
        assert_eq!(pipe_number(Path::new("pipe:[4711]")), Some(4711));
        assert_eq!(pipe_number(Path::new("/dev/null")), None);
    }
}
