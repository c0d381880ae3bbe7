//! An engine of a test's own: it can be restarted, its clock's past be rewritten, and all of its containers removed,
//! which the machine's own cannot. It takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::engine::FIXTURE;
use crate::wait_until;

/// A Docker Engine that has the fixture image and nothing else, with its data in a folder of its own.
#[derive(Debug)]
pub struct OwnEngine {
    dir: TempDir,
    bridge: String,
    options: Vec<String>,
    daemon: Option<Child>,
}

impl OwnEngine {
    /// Starts one, with further options of `dockerd`.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(options: &[&str]) -> Self {
        // Several tests may run in one process.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() + 1009 * STARTED.fetch_add(1, Ordering::Relaxed);
        // An interface's name has at most 15 characters. A bridge of its own, for none at all (`--bridge=none`) would
        // take away that of the machine's engine.
        let bridge = format!("ncaas{number:x}");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut engine = OwnEngine { dir: tempfile::tempdir().unwrap(), bridge, options, daemon: None };
        fs::create_dir(engine.programs()).unwrap();
        ip(&["link", "add", &engine.bridge, "type", "bridge"]);
        ip(&["address", "add", &format!("172.29.{}.1/24", number % 250 + 1), "dev", &engine.bridge]);
        ip(&["link", "set", &engine.bridge, "up"]);
        engine.up();
        let line = format!("docker save {FIXTURE} | docker --host {} load", engine.host());
        let loaded = Command::new("sh").args(["-c", &line]).stdout(Stdio::null()).status().unwrap();
        assert!(loaded.success());
        engine
    }

    /// What `DOCKER_HOST` is for it.
    pub fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.path().display())
    }

    /// A folder that is first on its PATH.
    pub fn programs(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// Runs the docker CLI on it. Its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let host = self.host();
        crate::engine::docker(&[&["--host", &host], arguments].concat())
    }

    /// Stops it, does something with what it keeps of its containers, and starts it again.
    pub fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.down("-TERM");
        meanwhile(&self.dir.path().join("data/containers"));
        self.up();
    }

    /// Kills it and starts it again.
    pub fn crash(&mut self) {
        self.down("-KILL");
        self.up();
    }

    fn up(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let log = fs::File::options().create(true).append(true).open(at("log")).unwrap();
        let path = format!("{}:{}", self.programs().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("dockerd");
        command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("run"));
        command.arg("--pidfile").arg(at("pid")).args(["--host", &self.host(), "--bridge", &self.bridge]);
        command.args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"]).args(&self.options);
        self.daemon = Some(command.spawn().unwrap());
        let answers = || {
            let mut version = Command::new("docker");
            version.args(["--host", &self.host(), "version"]).stdout(Stdio::null()).stderr(Stdio::null());
            version.status().unwrap().success()
        };
        wait_until("an engine of the test's own", Duration::from_secs(60), answers);
    }

    fn down(&mut self, signal: &str) {
        if let Some(mut daemon) = self.daemon.take() {
            // It has ended already where this fails.
            let _ = Command::new("kill").args([signal, &daemon.id().to_string()]).status();
            daemon.wait().unwrap();
            // A killed engine takes its containerd with it, and leaves its number: the next one would take that of a
            // process which nobody has buried for one that runs.
            let _ = fs::remove_file(self.dir.path().join("run/containerd/containerd.pid"));
        }
    }
}

#[expect(clippy::print_stderr, reason = "what the engine said belongs to the output of the test that failed")]
impl Drop for OwnEngine {
    fn drop(&mut self) {
        let _ = Command::new("sh")
            .args(["-c", "docker --host \"$0\" ps -aq | xargs -r docker --host \"$0\" rm -f", &self.host()])
            .stdout(Stdio::null())
            .status();
        self.down("-TERM");
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the engine's last words, the last first:\n{}", end.join("\n"));
        }
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}
