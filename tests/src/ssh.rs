//! An engine reached by ssh: this machine's own, by way of an sshd of the test's on loopback. No path of this machine
//! is given to an engine that is reached so.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Run, tools, wait_until};

/// An sshd that ends with the test.
#[derive(Debug)]
pub struct Loopback {
    sshd: Child,
    folder: TempDir,
    host: OsString,
    path: OsString,
}

fn script(action: &str, folder: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/services/ssh"));
    command.arg(action).arg(folder);
    command
}

impl Loopback {
    /// Starts it.
    ///
    /// # Panics
    /// Where there is no sshd: `make test` installs one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let quiet = |command: &mut Command| command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let sshd = quiet(&mut script("run", folder.path()));
        let mut loopback = Loopback { sshd, folder, host: OsString::new(), path: OsString::new() };
        let port = loopback.folder.path().join("port");
        let listens = || std::fs::read_to_string(&port).is_ok_and(|port| port.ends_with('\n'));
        wait_until("sshd, of Debian's openssh-server", Duration::from_secs(30), listens);
        let host = script("host", loopback.folder.path()).output().unwrap();
        loopback.host = String::from_utf8(host.stdout).unwrap().trim_end().into();
        if let Some(socket) = std::env::var("DOCKER_HOST").ok().as_deref().and_then(|host| host.strip_prefix("unix://"))
        {
            loopback.host.push(socket);
        }
        for folder in [tools().as_path(), &loopback.folder.path().join("bin")] {
            loopback.path.push(folder);
            loopback.path.push(":");
        }
        loopback.path.push(std::env::var_os("PATH").unwrap());
        loopback
    }

    /// The environment of a tool that uses it.
    pub fn environment(&self) -> [(&str, &OsStr); 2] {
        [("DOCKER_HOST", &self.host), ("PATH", &self.path)]
    }

    /// Breaks all connections off. New ones can be made.
    ///
    /// # Panics
    /// When there is none.
    pub fn break_off(&self) {
        let sessions = Command::new("pkill").args(["-KILL", "-P", &self.sshd.id().to_string()]).status().unwrap();
        assert!(sessions.success(), "no connection is there");
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Loopback::new()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

/// Lets a run use the engine that is reached by ssh.
pub fn with_remote_engine(run: Run, remote: &Loopback) -> Run {
    remote.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value))
}
