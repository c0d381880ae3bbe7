//! A machine for tests of several: processes with names, separate names, process ids and runtime folders, which run
//! `serve`. Needs root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{tools, wait_until};

/// A machine that serves a bucket.
#[derive(Debug)]
pub struct Machine {
    dir: TempDir,
    /// Holds the namespaces.
    holder: Child,
    init: String,
    serve: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Machine {
    /// A machine with this host name, whose processes have these environment variables.
    ///
    /// # Panics
    /// When the namespaces cannot be made.
    pub fn new(name: &str, environment: &[(&str, &str)]) -> Self {
        // It ends with this thread, even if the test is killed.
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--pid", "--mount-proc", "--uts", "--fork", "--kill-child"])
            .args(["bash", "-c"])
            .arg(format!("hostname {name}; exec sleep infinity"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut init = String::new();
        wait_until("the machine's first process", Duration::from_secs(30), || {
            let found = Command::new("pgrep").args(["-P", &holder.id().to_string(), "sleep"]).output().unwrap();
            init = String::from_utf8(found.stdout).unwrap().trim().to_owned();
            !init.is_empty()
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("runtime")).unwrap();
        let mut environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.push(("XDG_RUNTIME_DIR".to_owned(), dir.path().join("runtime").to_str().unwrap().to_owned()));
        Machine { dir, holder, init, serve: None, environment }
    }

    /// Its io-dir.
    pub fn io_dir(&self) -> PathBuf {
        self.dir.path().join("io-dir")
    }

    /// The output of `serve` and the tools on stderr.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Starts `serve` for this bucket, with these options of `ncaas-exec run`.
    pub fn serve(&mut self, bucket: &str, image: &str, run: &str, watch: &[&str]) {
        let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
        let stderr = std::fs::File::options().create(true).append(true).open(self.dir.path().join("stderr")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ncaas-submit/serve/serve");
        let mut command = self.enter(Path::new(script));
        command.args([bucket, image]).args(watch).env("PATH", path).env("IO_DIR", self.io_dir()).env("RUN", run);
        self.serve = Some(command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap());
    }

    /// Stops `serve` in good order.
    ///
    /// # Panics
    /// If it does not stop within some seconds.
    pub fn stop(&mut self) {
        let Some(mut serve) = self.serve.take() else { return };
        // `nsenter` waits for it, and both have the same arguments: the signal is for the one inside.
        drop(self.enter(Path::new("pkill")).args(["-TERM", "-o", "-f", "^[^ ]*bash [^ ]*/serve "]).status());
        wait_until("the end of `serve`", Duration::from_secs(20), || serve.try_wait().unwrap().is_some());
    }

    /// SIGKILL to one stage, found by its words. Returns false if it does not run.
    pub fn kill_stage(&self, stage: &str) -> bool {
        self.enter(Path::new("pkill")).args(["-KILL", "-f", &format!("^[^ ]*{stage}")]).status().unwrap().success()
    }

    /// Sends a signal to all tools.
    pub fn signal_tools(&self, signal: &str) {
        let status = self.enter(Path::new("pkill")).args([&format!("-{signal}"), "^ncaas-"]).status().unwrap();
        assert!(status.success(), "no tool runs");
    }

    fn enter(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--pid", "--mount", "--uts", "--"]).arg(program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All its processes end with the first one.
        drop(Command::new("kill").args(["-KILL", &self.init]).status());
        drop(self.holder.wait());
        if let Some(serve) = &mut self.serve {
            drop(serve.wait());
        }
    }
}
