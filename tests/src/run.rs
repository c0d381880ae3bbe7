//! Runs a tool, or a line of bash with the tools on its PATH, and compares what came of it.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::record::JobRecord;

/// The folder that holds the tools built together with these tests.
///
/// # Panics
/// When they have not been built: `cargo build --workspace` first (`make test` does).
pub fn tools() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().to_owned();
    assert!(
        folder.join("ncaas-exec").exists(),
        "no tools in {}: run `cargo build --workspace` first",
        folder.display()
    );
    folder
}

/// One run of one tool.
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Option<Vec<u8>>,
}

impl Run {
    /// `ncaas-exec`, `ncaas-sync`, ...
    pub fn tool(name: &str) -> Self {
        Run { command: Command::new(tools().join(name)), stdin: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// The tool's input on stdin; none if this is not called.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The working directory.
    #[must_use]
    pub fn dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut stdin = child.stdin.take().unwrap();
        let bytes = self.stdin.unwrap_or_default();
        // A tool may end before it has read all of it.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ran::new(&output)
    }

    /// The command, for tests that need the process itself.
    pub fn into_command(self) -> Command {
        self.command
    }
}

/// Runs a line of bash, with `pipefail` and the tools on its PATH, in a folder.
pub fn pipe_in(folder: &Path, script: &str, environment: &[(&str, &OsStr)]) -> Ran {
    let mut path = OsString::from(tools());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -o pipefail; {script}")]).current_dir(folder).env("PATH", path);
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    Ran::new(&command.output().unwrap())
}

/// [`pipe_in`] the temporary folder.
pub fn pipe(script: &str) -> Ran {
    pipe_in(&std::env::temp_dir(), script, &[])
}

/// Waits for a condition, as long as `limit`.
///
/// # Panics
/// When it has not come by then.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; 128 and the signal's number where a signal ended it.
    pub status: i32,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
}

impl Ran {
    pub(crate) fn new(output: &std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Ran { status, stdout: output.stdout.clone(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Asserts exit status 0 and an empty stderr.
    ///
    /// # Panics
    /// When it was not so.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ended(0, "")
    }

    /// Asserts the exit status, and stderr to the letter.
    ///
    /// # Panics
    /// When one differs.
    #[track_caller]
    pub fn ended(self, status: i32, stderr: &str) -> Self {
        assert!(
            self.status == status && self.stderr == stderr,
            "status {} (expected {status})\nstderr:\n{}\nexpected stderr:\n{stderr}\nstdout:\n{}",
            self.status,
            self.stderr,
            self.text()
        );
        self
    }

    /// Asserts the exit status, and that stderr has these words in it.
    ///
    /// # Panics
    /// When it was not so.
    #[track_caller]
    pub fn ended_saying(self, status: i32, words: &str) -> Self {
        assert!(
            self.status == status && self.stderr.contains(words),
            "status {} (expected {status})\nstderr:\n{}\nexpected in it:\n{words}\nstdout:\n{}",
            self.status,
            self.stderr,
            self.text()
        );
        self
    }

    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Every line of stdout as JSON.
    ///
    /// # Panics
    /// When a line is not a JSON object.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.stdout).expect("stdout is UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut off: {text:?}");
        text.lines()
            .map(|line| {
                let value: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in line {line:?}"));
                assert!(value.is_object(), "not an object: {line}");
                value
            })
            .collect()
    }

    /// Every line of stdout as a job record, with no field that is not declared.
    ///
    /// # Panics
    /// When a line is none.
    #[track_caller]
    pub fn records(&self) -> Vec<JobRecord> {
        let lines = self.json();
        lines
            .into_iter()
            .map(|line| {
                JobRecord::deserialize_strictly(line.clone()).unwrap_or_else(|error| panic!("{error} in record {line}"))
            })
            .collect()
    }

    /// The one record on stdout.
    ///
    /// # Panics
    /// When there is another number of them.
    #[track_caller]
    pub fn record(&self) -> JobRecord {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "records:\n{}\nstderr:\n{}", self.text(), self.stderr);
        records.remove(0)
    }
}
