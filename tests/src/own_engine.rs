//! An engine of a test's own, which can be restarted, have its containers' history rewritten, and have all of its
//! containers removed, as the machine's engine cannot. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::end_command::EndCommand;
use crate::engine::FIXTURE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/services/second-engine");

/// A Docker Engine that has the fixture image and no other, with its data in a separate folder.
#[derive(Debug)]
pub struct OwnEngine {
    /// Stops it. It is the first field, because fields are dropped in order.
    _stop: EndCommand,
    dir: TempDir,
    options: Vec<String>,
}

impl OwnEngine {
    /// Starts one, with further options of `dockerd`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let remove = r#""$0" stop "$@"; rm -rf --one-file-system "$1""#;
        let mut stop =
            vec!["env".to_owned(), path_with(dir.path()), "sh".to_owned(), "-c".to_owned(), remove.to_owned()];
        stop.extend([SCRIPT.to_owned(), dir.path().to_str().unwrap().to_owned()]);
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        stop.extend_from_slice(&options);
        let engine = OwnEngine { _stop: EndCommand::new(&stop), dir, options };
        fs::create_dir(engine.programs()).unwrap();
        engine.control("start");
        let line = format!("docker save {FIXTURE} | docker --host {} load --quiet >/dev/null", engine.host());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
        engine
    }

    /// The value of `DOCKER_HOST` for it.
    pub fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.path().display())
    }

    /// A folder that is first on its PATH.
    pub fn programs(&self) -> PathBuf {
        programs(self.dir.path())
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

    /// Stops it, passes the folder of its containers to `meanwhile`, and starts it again.
    pub fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.control("end");
        meanwhile(&self.dir.path().join("data/containers"));
        self.control("start");
    }

    /// Kills dockerd and starts it again.
    pub fn crash(&mut self) {
        self.control("kill");
        self.control("start");
    }

    fn control(&self, action: &str) {
        let mut command = Command::new("env");
        command.arg(path_with(self.dir.path())).arg(SCRIPT).arg(action).arg(self.dir.path()).args(&self.options);
        assert!(command.status().unwrap().success(), "second-engine {action}");
    }
}

#[expect(clippy::print_stderr, reason = "the engine's log belongs to the output of the test that failed")]
impl Drop for OwnEngine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("dockerd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of the engine's log:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

fn programs(dir: &Path) -> PathBuf {
    dir.join("bin")
}

/// The setting of PATH for the engine, as `env` reads it.
fn path_with(dir: &Path) -> String {
    format!("PATH={}:{}", programs(dir).display(), std::env::var("PATH").unwrap_or_default())
}
