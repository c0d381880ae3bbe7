//! A process started in a running container, as by `docker exec`.
//!
//! The engine cannot end such a process: it continues after its client has gone. So the environment of each process
//! contains a unique mark, which child processes inherit. To signal them, a second process in the container searches
//! `/proc` for the mark, for the process itself (its environment may have been replaced, as by `env -i`), and for all
//! descendants. This needs a shell with `read` and `kill`. In a container without a shell, a tool that may signal the
//! processes on this machine does so.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::processes::{field, process_ids, stat_fields};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWrite;
use tokio::time::sleep;

/// The environment variable that holds the mark.
const MARK: &str = "NCAAS_EXEC";

/// Sends signal `$2` to the process `$4` (if set), to all processes whose environment contains the mark `$1`, and to
/// their descendants and sessions; then KILL after `$3` seconds if `$3` is set. The script itself is none of them.
const SEND_SIGNAL: &str = r#"
send() {
marked=" $4 "
for process in /proc/[0-9]*; do
    line=
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in *"$1"*) marked="$marked${process#/proc/} "; break ;; esac
        line=
    done 2>/dev/null <"$process/environ"
done 2>/dev/null
before=
while [ "$before" != "$marked" ]; do
    before=$marked
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        case $marked in *" $pid "*) continue ;; esac
        IFS= read -r stat <"$process/stat" || continue
        rest=${stat##*) }; rest=${rest#* }; parent=${rest%% *}; rest=${rest#* }; rest=${rest#* }; session=${rest%% *}
        case $marked in *" $parent "*|*" $session "*) marked="$marked$pid " ;; esac
    done 2>/dev/null
done
for pid in $marked; do kill -s "$2" "$pid" 2>/dev/null; done
}
send "$1" "$2" "" "$4"
[ -z "$3" ] || { sleep "$3"; send "$1" KILL "" "$4"; } 2>/dev/null
"#;

/// Start of the error message that engines write to the output of a process that could not be started.
const START_ERROR: &[u8] = b"OCI runtime exec failed";
/// Podman's message begins with the first and contains the second.
const PODMAN_START_ERROR: (&[u8], &[u8]) = (b"Error: ", b": OCI ");
/// Start of a second message of Podman that may follow.
const PODMAN_CONNECTION_ERROR: &[u8] = b"Error: read unixpacket ";

/// How often to check that a process whose streams are closed has ended.
const EXIT_CHECKS: u32 = 20;
const EXIT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A command to run in a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecRequest {
    pub(crate) container: String,
    pub(crate) command: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) stdin: bool,
    /// Whether the process gets a terminal.
    pub(crate) terminal: bool,
}

/// A process in a container.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    engine: Engine,
    request: ExecRequest,
    id: String,
    mark: String,
}

pub(crate) type OutputStream = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

pub(crate) struct Streams {
    pub(crate) output: OutputStream,
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExecEnd {
    /// It exited with this code.
    Exited(i64),
    /// It could not be started. On Podman: or it exited with this code after printing text like the engine's message.
    NotStarted(i64),
}

impl Exec {
    /// Creates the process without starting it. Fails if the container does not exist or does not run.
    pub(crate) async fn create(engine: &Engine, request: ExecRequest) -> Result<Self> {
        let container = reference::container(&request.container)?.to_owned();
        let mark = format!("{MARK}={}.{}", std::process::id(), Timestamp::now().as_nanosecond());
        let options = CreateExecOptions {
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(!request.terminal),
            tty: Some(request.terminal),
            // The engine's default begins with Ctrl-P, which programs use.
            detach_keys: request.terminal.then(|| "ctrl-@,ctrl-@,ctrl-_".to_owned()),
            env: Some(request.env.iter().cloned().chain([mark.clone()]).collect()),
            cmd: Some(request.command.clone()),
            user: request.user.clone(),
            working_dir: request.workdir.clone(),
            ..Default::default()
        };
        let created = engine.docker().create_exec(&container, options).await;
        let id = match created {
            Err(error) if is_not_running(&error) => return Err(not_running(engine, &container).await),
            created => created.engine_context("run a command in", Subject::Container(&container))?.id,
        };
        Ok(Exec { engine: engine.clone(), request, id, mark })
    }

    pub(crate) async fn start(&self) -> Result<Streams> {
        let options = StartExecOptions { tty: self.request.terminal, ..Default::default() };
        let started = self.engine.docker().start_exec(&self.id, Some(options)).await;
        match started.engine_context("run a command in", Subject::Container(&self.request.container))? {
            StartExecResults::Attached { output, input } => Ok(Streams { output, input }),
            StartExecResults::Detached => {
                Err(Failure::new(Kind::EngineError, "the engine did not attach to the process"))
            }
        }
    }

    /// How the process ended; to be called when its output stream has ended. `maybe_start_error` says that the output
    /// may be the engine's message: then a process without a PID never started. (Podman clears the PID of an ended
    /// one.)
    pub(crate) async fn end_state(&self, maybe_start_error: bool) -> Result<ExecEnd> {
        let subject = Subject::Container(&self.request.container);
        let inspect =
            async || self.engine.docker().inspect_exec(&self.id).await.engine_context("run a command in", subject);
        let mut inspected = match inspect().await {
            // The outage that closed the streams may have closed pooled connections too.
            Err(failure) if failure.kind == Kind::EngineUnreachable => inspect().await?,
            inspected => inspected?,
        };
        // Podman reports exit code 0 for a running process, and learns of the end late.
        for _ in 0..EXIT_CHECKS {
            if inspected.running != Some(true) {
                break;
            }
            sleep(EXIT_CHECK_INTERVAL).await;
            inspected = inspect().await?;
        }
        let exit_code = inspected.exit_code.filter(|_| inspected.running != Some(true));
        match (exit_code, inspected.pid) {
            (Some(code @ (126 | 127)), None | Some(0)) if maybe_start_error => Ok(ExecEnd::NotStarted(code)),
            (Some(code), _) => Ok(ExecEnd::Exited(code)),
            (None, _) => Err(Failure::new(
                Kind::EngineError,
                format!("lost the connection to the process in `{}`", self.request.container),
            )),
        }
    }

    /// Signals a process after its connection was lost. The returned failure says whether that was possible.
    pub(crate) async fn abandon(&self, signal: &str, failure: Failure, hint: &str) -> Failure {
        let message = match failure.kind {
            // Another connection attempt would block as long as the first one did.
            Kind::EngineUnreachable => format!("{}; the process may still run", failure.message),
            _ if self.signal(signal).await.is_ok() => format!("{}, and it was ended", failure.message),
            // The container does not exist either.
            _ => return failure,
        };
        Failure { message, ..failure }.hint(hint)
    }

    /// Signals the process and its descendants.
    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        self.send_signal(signal, "").await
    }

    /// Same as [`Exec::signal`], and sends KILL after `grace`, in one request: with ssh each request is a login.
    pub(crate) async fn terminate(&self, signal: &str, grace: Duration) -> Result<()> {
        self.send_signal(signal, &grace.as_secs_f64().to_string()).await
    }

    /// Kills the process and its descendants. Returns whether the process has ended then, as far as the engine says.
    pub(crate) async fn kill(&self) -> bool {
        let sent = self.signal("KILL").await;
        for _ in 0..EXIT_CHECKS {
            match self.engine.docker().inspect_exec(&self.id).await {
                Ok(inspected) if inspected.running == Some(true) => sleep(EXIT_CHECK_INTERVAL).await,
                Ok(_) => return sent.is_ok(),
                Err(_) => return false,
            }
        }
        false
    }

    async fn send_signal(&self, signal: &str, grace: &str) -> Result<()> {
        let host_pid = self.host_pid().await;
        // Only the process's user may read its environment.
        let by_mark = self.run_signal_script(self.request.user.clone(), signal, grace, "");
        let has_shell = match host_pid.and_then(pid_in_container) {
            None => by_mark.await?,
            // The process may have changed its user: only root may signal it then.
            Some(pid) => {
                let pid = pid.to_string();
                let by_number = self.run_signal_script(Some("0".to_owned()), signal, grace, &pid);
                let (by_mark, by_number) = tokio::join!(by_mark, by_number);
                by_mark? && by_number?
            }
        };
        if !has_shell && let Some(pid) = host_pid {
            signal_from_host(pid, signal);
            if !grace.is_empty() {
                signal_from_host(pid, "KILL");
            }
        }
        Ok(())
    }

    /// Runs the script that sends signals. Returns whether the container has a shell for it.
    async fn run_signal_script(&self, user: Option<String>, signal: &str, grace: &str, pid: &str) -> Result<bool> {
        let command = ["sh", "-c", SEND_SIGNAL, "sh", &self.mark, signal, grace, pid].map(str::to_owned).to_vec();
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            cmd: Some(command),
            user,
            // The container's working directory may be gone.
            working_dir: Some("/".to_owned()),
            ..Default::default()
        };
        let docker = self.engine.docker();
        let subject = Subject::Container(&self.request.container);
        let id =
            docker.create_exec(&self.request.container, options).await.engine_context("end a command in", subject)?.id;
        let started = docker.start_exec(&id, None).await.engine_context("end a command in", subject)?;
        let mut has_shell = true;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(piece) = output.next().await {
                has_shell &= !maybe_start_error(piece.engine_context("end a command in", subject)?.as_ref());
            }
        }
        Ok(has_shell)
    }

    /// The process's number on this machine; `None` for a remote engine.
    async fn host_pid(&self) -> Option<i32> {
        if self.engine.is_remote() {
            return None;
        }
        let pid = self.engine.docker().inspect_exec(&self.id).await.ok()?.pid?;
        i32::try_from(pid).ok().filter(|pid| *pid > 0)
    }

    /// Sets the size of the process's terminal.
    pub(crate) async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let options = bollard::query_parameters::ResizeExecOptions { h: i32::from(rows), w: i32::from(columns) };
        let resized = self.engine.docker().resize_exec(&self.id, options).await;
        resized.engine_context("resize a terminal in", Subject::Container(&self.request.container))
    }
}

/// Whether a command was refused because its container is not running. Podman (4.3) reports that with status 500.
fn is_not_running(error: &bollard::errors::Error) -> bool {
    let bollard::errors::Error::DockerResponseServerError { status_code, message } = error else { return false };
    *status_code == 409 || message.contains("container state improper")
}

/// The failure of a command in a container that is not running, with the remedy for its state.
async fn not_running(engine: &Engine, container: &str) -> Failure {
    let state = engine.container(container).await.map(|container| container.state).unwrap_or_default();
    let (word, hint) = match state.as_str() {
        "paused" => ("paused", format!("`docker unpause {container}` continues it")),
        "restarting" => {
            ("restarting", format!("try again when it is running; `docker logs {container}` shows why it restarts"))
        }
        _ => {
            let hint = match tool_labels(engine, container).await {
                (true, false) => format!("`ncaas-exec start --name {container}` starts it again"),
                // Its job would run a second time.
                (_, true) => format!(
                    "`ncaas-sync diff {container}` lists the files that its job wrote, and `ncaas-exec start IMAGE` starts \
                     another container of its image"
                ),
                _ => format!("`docker start {container}` starts it again"),
            };
            ("not running", hint)
        }
    };
    Failure::new(Kind::EngineError, format!("the container `{container}` is {word}")).hint(hint)
}

/// Whether a container is one of the tools, and whether it is one of a job.
async fn tool_labels(engine: &Engine, container: &str) -> (bool, bool) {
    let inspected = engine.inspect(container).await.ok();
    let labels = inspected.and_then(|inspected| inspected.config?.labels).unwrap_or_default();
    (labels.contains_key(labels::TOOL), labels.contains_key(labels::JOB))
}

/// The number that a process of this machine has in its container.
fn pid_in_container(host_pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{host_pid}/status")).ok()?;
    let numbers: Vec<&str> = field(&status, "NSpid:")?.split_whitespace().collect();
    // A process without its own numbers is not the one in the container.
    if numbers.len() > 1 { numbers.last()?.parse().ok() } else { None }
}

/// Signals a process of this machine and its descendants, if this user may.
fn signal_from_host(pid: i32, signal: &str) {
    if pid_in_container(pid).is_none() {
        return;
    }
    let with_parent = |pid: u32| Some((i32::try_from(pid).ok()?, stat_fields(pid)?.get(1)?.parse().ok()?));
    let processes: Vec<(i32, i32)> = process_ids().filter_map(with_parent).collect();
    let mut group = vec![pid];
    let mut at = 0;
    while let Some(parent) = group.get(at).copied() {
        group.extend(processes.iter().filter(|(_, above)| *above == parent).map(|(child, _)| *child));
        at += 1;
    }
    let signal = match signal {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        _ => Signal::KILL,
    };
    for pid in group.into_iter().filter_map(Pid::from_raw) {
        // Fails for a process that has ended, and for one of another user.
        let _ = kill_process(pid, signal);
    }
}

/// Whether output may be the engine's message that the process could not be started.
pub(crate) fn maybe_start_error(output: &[u8]) -> bool {
    let (start, middle) = PODMAN_START_ERROR;
    let is_podmans = || output.starts_with(start) && output.windows(middle.len()).any(|bytes| bytes == middle);
    output.starts_with(START_ERROR) || is_podmans()
}

/// Whether output may be the message that can follow [a start error](maybe_start_error).
pub(crate) fn maybe_connection_error(output: &[u8]) -> bool {
    output.starts_with(PODMAN_CONNECTION_ERROR)
}
