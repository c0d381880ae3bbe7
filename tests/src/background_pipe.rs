//! A pipe of the tools that runs in the background while a test acts on it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::tools;

/// A pipe that runs in a separate process group.
pub struct BackgroundPipe {
    shell: Child,
}

impl BackgroundPipe {
    /// Starts a line of bash in a folder, in a separate process group; its stderr goes to the file `stderr` there.
    pub fn start(folder: &Path, script: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
        let log = std::fs::File::options().create(true).append(true).open(folder.join("stderr")).unwrap();
        let shell = Command::new("bash")
            .args(["-c", script])
            .current_dir(folder)
            .env("PATH", path)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        BackgroundPipe { shell }
    }

    /// SIGKILL to one stage, found by its words among the processes of this pipe.
    pub fn kill_stage(&self, stage: &str) {
        let group = self.shell.id().to_string();
        let killed =
            Command::new("pkill").args(["-KILL", "-g", &group, "-f", &format!("^[^ ]*{stage}")]).status().unwrap();
        assert!(killed.success(), "no stage `{stage}` is running");
    }
}

impl BackgroundPipe {
    /// SIGTERM to all stages, and waits for their end.
    pub fn terminate(mut self) {
        let group = format!("-{}", self.shell.id());
        drop(Command::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status());
        let is_over = || Command::new("pgrep").args(["-g", &group[1..]]).stdout(Stdio::null()).status();
        let ended = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while std::time::Instant::now() < ended {
            drop(self.shell.try_wait());
            if is_over().is_ok_and(|status| !status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("a stage did not end within three seconds of SIGTERM");
    }
}

impl Drop for BackgroundPipe {
    fn drop(&mut self) {
        drop(
            Command::new("kill").args(["-KILL", "--", &format!("-{}", self.shell.id())]).stderr(Stdio::null()).status(),
        );
        drop(self.shell.wait());
    }
}
