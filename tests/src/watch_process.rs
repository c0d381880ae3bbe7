//! A running `ncaas-submit watch` whose records are read as they arrive.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::bucket::TestBucket;
use crate::{Run, wait_until};

/// How long these tests wait for a submission to be noticed.
pub const SOON: Duration = Duration::from_secs(20);

/// A watch whose records are read as they come.
pub struct WatchProcess {
    /// The process.
    pub child: Child,
    /// The records that it has emitted so far.
    pub records: Arc<Mutex<Vec<Value>>>,
}

impl WatchProcess {
    /// Starts a watch.
    pub fn start(bucket: &TestBucket, arguments: &[&str]) -> Self {
        WatchProcess::start_with(bucket, arguments, |_| {})
    }

    /// Hands each record to `stage`, as the next stage of a pipe would have it.
    pub fn start_with(bucket: &TestBucket, arguments: &[&str], stage: impl Fn(&Value) + Send + 'static) -> Self {
        let mut command = Run::tool("ncaas-submit").args(["watch", &bucket.address()]).args(arguments).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let records = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let into = Arc::clone(&records);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A killed process can leave half a line.
                let Ok(record) = serde_json::from_str(&line) else { return };
                stage(&record);
                into.lock().unwrap().push(record);
            }
        });
        WatchProcess { child, records }
    }

    /// The job ids that it has emitted so far.
    pub fn ids(&self) -> Vec<String> {
        let records = self.records.lock().unwrap();
        records.iter().map(|record| record["job"]["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it has emitted this job.
    pub fn wait_for(&self, id: &str) {
        self.wait_for_within(id, SOON);
    }

    /// Waits until it has emitted this job, for a time.
    pub fn wait_for_within(&self, id: &str, limit: Duration) {
        wait_until(&format!("{id} among {:?}", self.ids()), limit, || self.ids().iter().any(|other| other == id));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it, and gives its stderr.
    pub fn end(mut self) -> String {
        self.signal("-TERM");
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(143), "{stderr}");
        stderr
    }
}

impl Drop for WatchProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
