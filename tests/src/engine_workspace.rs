//! Jobs on an engine of the test's own, and tools that read records while that engine restarts.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Run;
use crate::engine::FIXTURE;
use crate::own_engine::OwnEngine;

/// A place for jobs of an engine of the test's own.
pub struct EngineWorkspace {
    /// The engine.
    pub engine: OwnEngine,
    /// The folder that jobs are run from.
    pub dir: TempDir,
}

impl EngineWorkspace {
    /// Starts an engine with these options of `dockerd`.
    pub fn new(options: &[&str]) -> Self {
        EngineWorkspace { engine: OwnEngine::start(options), dir: tempfile::tempdir().unwrap() }
    }

    /// A run of `ncaas-exec` on it.
    pub fn exec(&self, arguments: &[&str]) -> Run {
        Run::tool("ncaas-exec").args(arguments).dir(self.dir.path()).env("DOCKER_HOST", self.engine.host())
    }

    /// Starts a job. Its record.
    pub fn start(&self, flags: &[&str], script: &str) -> Value {
        let ran = self.exec(&["run", FIXTURE]).args(flags).args(["--", "sh", "-c", script]).run();
        // Status 1 means that a job has already failed.
        assert_eq!(ran.stderr, "");
        ran.json().remove(0)
    }

    /// `wait` for these jobs, begun: it has found the engine.
    pub fn wait(&self, jobs: &[Value]) -> WaitProcess {
        let done = self.engine.docker(&["run", "--detach", FIXTURE, "true"]);
        let mut command = self.exec(&["wait"]).into_command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        writeln!(input, "{}", json!({"container": {"id": done}})).unwrap();
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        assert!(first.contains(&done), "{first}");
        self.engine.docker(&["rm", &done]);
        for job in jobs {
            writeln!(input, "{job}").unwrap();
        }
        WaitProcess { child, output }
    }
}

/// A tool that is fed records.
pub struct FilterProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    messages: BufReader<ChildStderr>,
}

impl FilterProcess {
    /// Starts the tool.
    pub fn new(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let messages = BufReader::new(child.stderr.take().unwrap());
        FilterProcess { child, input, output, messages }
    }

    /// Writes a record to its stdin.
    pub fn write(&mut self, record: &Value) {
        writeln!(self.input, "{record}").unwrap();
    }

    /// Reads the next record from its stdout.
    pub fn read(&mut self) -> Value {
        serde_json::from_str(&read_line_from(&mut self.output)).unwrap()
    }

    /// The next line for people.
    pub fn next_message(&mut self) -> String {
        read_line_from(&mut self.messages)
    }
}

impl Drop for FilterProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_line_from(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

/// A `wait` at work.
pub struct WaitProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl WaitProcess {
    /// How the containers fare whose records it has written by its end.
    pub fn containers(mut self) -> Vec<Value> {
        let records = self.output.by_ref().lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let containers = records.map(|record| {
            assert_eq!(record["error"], Value::Null, "{record}");
            record["container"].clone()
        });
        let containers = containers.collect();
        self.child.wait().unwrap();
        containers
    }
}
