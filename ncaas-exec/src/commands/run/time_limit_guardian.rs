//! A process that enforces a job's time limit after this tool has ended, even after a logout.
//!
//! The engine has no time limits: the tool that waits for the container stops it. The guardian is
//! `ncaas-exec wait CONTAINER` in a separate session. It ends with the container. A service manager can end it with its
//! control group: `run` starts it again for a job that it adopts, and `wait` and `ncaas-logs save` hold the limit
//! themselves.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ncaas_core::tool::Tool;

/// Starts the guardian of a container. Without one, the limit holds while a tool waits.
pub(crate) fn start(tool: Tool, container: &str) {
    let Ok(program) = std::env::current_exe() else { return };
    let detached = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").process_group(0);
    };
    let mut in_own_session = Command::new("setsid");
    in_own_session.arg("--fork").arg(&program).args(["wait", container]);
    detached(&mut in_own_session);
    if in_own_session.status().is_ok_and(|status| status.success()) {
        return;
    }
    let mut in_own_group = Command::new(program);
    in_own_group.args(["wait", container]);
    detached(&mut in_own_group);
    if let Err(error) = in_own_group.spawn() {
        tool.note(&format!(
            "cannot start the process that enforces the time limit of `{container}`: {error}; the limit applies only \
             while a tool waits for the job"
        ));
    }
}
