//! The programs that read this one's records, directly or through others: the stages that come later in its pipe.
//!
//! Each end of a job is reported by the stage that knows most about it, so a stage must know which ones follow. The
//! kernel says who reads a pipe: a process whose stdin has the number of the pipe. Stages of another user or on another
//! machine are not found, and an end is then reported without what they know.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::text::base_name;

/// More programs are not followed: the pipes of a shell could form a circle.
const LONGEST_PIPE: usize = 32;

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
    /// Finds the programs behind this process.
    pub(crate) fn find() -> Self {
        let own =
            |stream: &str| fs::read_link(format!("/proc/self/fd/{stream}")).ok().and_then(|path| pipe_number(&path));
        let Some(mut pipe) = own("1") else { return LaterStages::default() };
        let readers = readers_of_pipes();
        let mut commands = Vec::new();
        while let Some(process) = readers.get(&pipe).filter(|_| commands.len() < LONGEST_PIPE) {
            commands.push(fs::read_to_string(process.join("cmdline")).unwrap_or_default());
            match fs::read_link(process.join("fd/1")).ok().and_then(|path| pipe_number(&path)) {
                Some(next) => pipe = next,
                None => break,
            }
        }
        Self::among(&commands)
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

/// The folders in `/proc` of this user's processes that read a pipe, by the number of the pipe.
fn readers_of_pipes() -> HashMap<u64, PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |process: PathBuf| Some((pipe_number(&fs::read_link(process.join("fd/0")).ok()?)?, process));
    processes.filter_map(read).collect()
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
