//! A submission whose containers the test starts, for `ncaas-logs save`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificate::{CertificateLine, parse_certificate};
use crate::engine::{CleanUp, FIXTURE, docker};
use crate::record::JobRecord;
use crate::{Ran, Run, unique};

/// A submission whose containers the tests start themselves.
pub struct StartedSubmission {
    /// The io-dir.
    pub io_dir: TempDir,
    /// The job's id.
    pub job: String,
    datasets: u64,
    /// Removes its containers.
    pub clean_up: CleanUp,
}

impl StartedSubmission {
    /// A submission of this many datasets, none of which has been started.
    pub fn new(datasets: u64) -> Self {
        StartedSubmission {
            io_dir: tempfile::tempdir().unwrap(),
            job: unique("job__logs"),
            datasets,
            clean_up: CleanUp::new(),
        }
    }

    /// The key of a dataset.
    pub fn dataname(dataset: u64) -> String {
        format!("lab/inputs/session {dataset}.npy")
    }

    /// The record of a dataset without a container.
    pub fn record(&self, dataset: u64) -> Value {
        json!({
            "job": {"id": self.job, "dataset": dataset, "datasets": self.datasets},
            "dataname": Self::dataname(dataset), "io_dir": self.io_dir.path(), "own": 1,
        })
    }

    /// Starts a dataset's container, and returns its record.
    pub fn start(&mut self, dataset: u64, options: &[&str], script: &str) -> String {
        let fixed = ["run", "-d", "--network=none"];
        let id = docker(&[&fixed, options, &[FIXTURE, "bash", "-c", script]].concat());
        self.clean_up.container(&id);
        let mut record = self.record(dataset);
        record["container"] = json!({"id": id});
        format!("{record}\n")
    }

    /// The job's `logs` folder.
    pub fn logs(&self) -> PathBuf {
        self.io_dir.path().join("results").join(&self.job).join("logs")
    }

    /// Reads a file in that folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.logs().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The whole log of a dataset.
    pub fn log(&self, dataset: u64) -> Vec<u8> {
        self.read(&format!("session {dataset}.npy.log"))
    }

    /// The status file of a dataset.
    pub fn status(&self, dataset: u64) -> Value {
        serde_json::from_slice(&self.read(&format!("DATASET_NAME:session {dataset}.npy_STATUS.txt"))).unwrap()
    }

    /// The saved record of a dataset.
    pub fn saved(&self, dataset: u64) -> Value {
        serde_json::from_slice(&self.read(&format!("session {dataset}.npy.record.json"))).unwrap()
    }

    /// The lines of the certificate.
    pub fn certificate(&self) -> Vec<CertificateLine> {
        parse_certificate(&String::from_utf8(self.read("certificate.txt")).unwrap())
    }
}

/// Runs `ncaas-logs save` on records; stderr holds failures only.
pub fn save_logs(arguments: &[&str], records: &str) -> Ran {
    Run::tool("ncaas-logs").args(["save", "-q"]).args(arguments).stdin(records).run()
}

/// The output on one stream, by a log file.
pub fn printed_on(log: &[u8], stream: &str) -> Vec<u8> {
    let prefix = format!(" {stream} ");
    let lines = log.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| &line[30..38] == prefix.as_bytes()).flat_map(|line| line[38..].to_vec()).collect()
}

/// A script whose output contains what the formats use as separators, a very long line, control characters and blank
/// lines.
pub const HOSTILE_OUTPUT: &str = r#"
echo 'a | STATUS: FAILED | b'; echo ================; echo >&2 'DATANAME: x | y'
head -c 1000000 /dev/zero | tr '\0' x; echo; printf 'a\tb\rc\n\033[31mred\001\n'
printf 'last | one\n\n  \n'"#;

/// The id of the container in a record.
pub fn container_id(record: &str) -> String {
    let record: Value = serde_json::from_str(record).unwrap();
    record["container"]["id"].as_str().unwrap().to_owned()
}

impl Ran {
    /// The records on stdout, each with the unknown field that a [`StartedSubmission`] gave it.
    ///
    /// # Panics
    /// When a record lacks that field or has another one that is not declared.
    pub fn submission_records(&self) -> Vec<JobRecord> {
        let declared = |mut line: Value| {
            assert_eq!(line.as_object_mut().unwrap().shift_remove("own"), Some(1.into()), "{line}");
            serde_json::from_value(line).unwrap()
        };
        self.json().into_iter().map(declared).collect()
    }

    /// The one record on stdout, as [`Ran::submission_records`] reads it.
    ///
    /// # Panics
    /// When there is another number of them.
    pub fn submission_record(&self) -> JobRecord {
        let mut records = self.submission_records();
        assert_eq!(records.len(), 1);
        records.remove(0)
    }
}
