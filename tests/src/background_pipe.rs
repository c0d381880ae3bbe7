//! A pipe of the tools that runs in the background while a test acts on it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

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
        let _ = kill_process_group(self.group(), Signal::TERM);
        let ended = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while std::time::Instant::now() < ended {
            drop(self.shell.try_wait());
            if test_kill_process_group(self.group()).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("a stage did not end within three seconds of SIGTERM");
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.shell)
    }
}

impl Drop for BackgroundPipe {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group(), Signal::KILL);
        drop(self.shell.wait());
    }
}
