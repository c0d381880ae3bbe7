//! A folder with an io-dir in which a test runs jobs.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::engine::{CleanUp, FIXTURE, docker};
use crate::record::JobRecord;
use crate::{Ran, Run};

/// An io-dir of a test's own, and the containers of the jobs in it, which go with it.
pub struct Workspace {
    dir: TempDir,
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl Workspace {
    /// An empty one.
    pub fn new() -> Self {
        Workspace { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A run of `ncaas-exec` in the folder.
    pub fn exec(&self, arguments: &[&str]) -> Run {
        Run::tool("ncaas-exec").args(arguments).dir(self.path())
    }

    /// `run FIXTURE [FLAGS] -- COMMAND`, to the record of the job that runs.
    pub fn start(&self, flags: &[&str], command: &[&str]) -> Vec<u8> {
        let ran = self.run(flags, command);
        // Status 1 means that a job has already failed.
        assert_eq!(ran.record().error_kind(), "", "{}", ran.stderr);
        ran.stdout
    }

    /// `run FIXTURE [FLAGS] -- COMMAND`.
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Ran {
        self.exec(&["run", FIXTURE]).args(flags).arg("--").args(command).run()
    }

    /// The same, waited for and removed.
    pub fn run_to_end(&self, flags: &[&str], command: &[&str]) -> JobRecord {
        let record = self.start(flags, command);
        let ended = self.exec(&["wait"]).stdin(record).run();
        self.exec(&["rm"]).stdin(ended.stdout.clone()).run();
        ended.record()
    }

    /// The jobs' folders.
    pub fn job_folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("io-dir/results")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes a file. Its name.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path().join(name), content).unwrap();
        name.to_owned()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Every job has a folder here that is named as it is, even if the test failed.
        let mut clean_up = CleanUp::new();
        for job in self.job_folders() {
            clean_up.labelled(&format!("org.neurocaas.job={job}"));
        }
    }
}

/// The output of a job's container on stdout.
pub fn container_output(record: &JobRecord) -> String {
    docker(&["logs", &record.container.as_ref().unwrap().id])
}
