//! A job whose container has ended, for `ncaas-sync collect`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{CleanUp, FIXTURE, docker};
use crate::record::JobRecord;
use crate::sync::ncaas_sync;
use crate::unique;

/// The home of the fixture image's user.
pub const HOME: &str = "/home/neurocaasdev";

/// A job as `ncaas-exec run` starts it, that has ended.
pub struct EndedJob {
    /// The folder with its io-dir.
    pub home: TempDir,
    /// The job's id.
    pub id: String,
    /// The id of the container that `collect` reads.
    pub container: String,
    /// Removes its containers.
    pub clean_up: CleanUp,
}

impl EndedJob {
    /// Runs a script in the fixture image with its results and logs mounted.
    pub fn after(script: &str, flags: &[&str]) -> Self {
        let mut job = EndedJob {
            home: tempfile::tempdir().unwrap(),
            id: format!("job__pca_{}", unique("collect")),
            container: String::new(),
            clean_up: CleanUp::new(),
        };
        job.container = job.run(1, script, flags);
        job
    }

    /// Runs a script as the job of a dataset, to its end. The container's id.
    pub fn run(&mut self, dataset: u64, script: &str, flags: &[&str]) -> String {
        let work = self.work_root().join(dataset.to_string());
        let mut arguments = vec!["run".to_owned(), "-d".to_owned()];
        for name in ["results", "logs"] {
            fs::create_dir_all(work.join(name)).unwrap();
            fs::set_permissions(work.join(name), fs::Permissions::from_mode(0o777)).unwrap();
            arguments.push("-v".to_owned());
            arguments.push(format!("{}/{name}:{HOME}/io-dir/{name}", work.display()));
        }
        arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        arguments.extend([FIXTURE, "sh", "-c", script].map(str::to_owned));
        let container = docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        self.clean_up.container(&container);
        docker(&["wait", &container]);
        container
    }

    /// The folder of this machine with the work folders of the job's datasets.
    pub fn work_root(&self) -> PathBuf {
        self.home.path().join("io-dir/.ncaas/work").join(&self.id)
    }

    /// The job's folder.
    pub fn folder(&self) -> PathBuf {
        self.home.path().join("io-dir/results").join(&self.id)
    }

    /// The job's `process_results`.
    pub fn results(&self) -> PathBuf {
        self.folder().join("process_results")
    }

    /// The record of its first dataset, whose end an earlier stage has reported.
    pub fn record(&self) -> Value {
        let code: i64 = docker(&["inspect", "--format", "{{.State.ExitCode}}", &self.container]).parse().unwrap();
        let status = if code == 0 { "success" } else { "failed" };
        json!({"job": {"id": self.id, "dataset": 1, "datasets": 1, "label": "a.npy"}, "io_dir": self.home.path().join("io-dir"),
            "container": {"id": self.container, "name": "x", "state": "exited", "status": status, "exit_code": code, "oom_killed": false},
            "outcome_reported": true})
    }

    /// Runs `ncaas-sync collect` on its record.
    pub fn collect(&self, flags: &[&str]) -> crate::Ran {
        let arguments = [&["collect"], flags].concat();
        ncaas_sync(&self.home, &arguments).stdin(self.record().to_string()).run()
    }
}

/// The results' paths below `process_results`.
pub fn result_paths(record: &JobRecord) -> Vec<String> {
    let results = record.results.as_ref().unwrap();
    let below =
        |path: &str| path.split_once("/process_results/").map_or(path.to_owned(), |(_, below)| below.to_owned());
    results.iter().map(|result| below(&result.path)).collect()
}
