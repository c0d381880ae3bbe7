//! A development container, as `ncaas-exec start` creates it.

use tempfile::TempDir;

use crate::engine::{CleanUp, FIXTURE, docker};
use crate::{Run, unique};

/// A development container of a test's own.
pub struct DevContainer {
    /// Its name.
    pub name: String,
    /// The folder that it was started from.
    pub dir: TempDir,
    _clean_up: CleanUp,
}

impl Default for DevContainer {
    fn default() -> Self {
        Self::new()
    }
}

impl DevContainer {
    /// Starts it.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = unique("dev");
        let mut clean_up = CleanUp::new();
        clean_up.container(&name);
        let run = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name]).dir(dir.path());
        let hint = format!("ncaas-exec: started `{name}`; `ncaas-exec shell {name}` opens a shell in it\n");
        let record = run.run().ended(0, &hint).record();
        assert_eq!(record.container.unwrap().state, "running");
        DevContainer { name, dir, _clean_up: clean_up }
    }

    /// `ncaas-exec in` with this command.
    pub fn exec_in(&self, flags: &[&str], command: &[&str]) -> Run {
        Run::tool("ncaas-exec").arg("in").args(flags).arg(&self.name).arg("--").args(command)
    }

    /// How many processes with these words in their command line the container has.
    pub fn count_processes(&self, words: &str) -> usize {
        docker(&["exec", &self.name, "ps", "-o", "args"]).lines().filter(|line| line.contains(words)).count()
    }
}
