//! `ncaas-exec shell`: an interactive shell in a container.

mod terminal;

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::Duration;

use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ShellArgs;
use crate::docker_exec::{Exec, ExecEnd, ExecRequest, Streams, maybe_start_error};
use crate::start_failure;
use terminal::Terminal;

/// Starts bash, or sh if there is no bash.
const PREFER_BASH: &str = "command -v bash >/dev/null 2>&1 && exec bash; exec sh";
/// Time between HUP and KILL for a shell whose terminal was closed.
const HANG_UP_GRACE: Duration = Duration::from_millis(200);
/// Commands to try, in this order.
const SHELLS: [&[&str]; 2] = [&["sh", "-c", PREFER_BASH], &["bash"]];

pub(crate) async fn shell(tool: Tool, args: ShellArgs) -> Result<ExitStatus> {
    let input = Input::arguments_or_stdin(tool, &args.target.container, "ncaas-exec start IMAGE | ncaas-exec shell")?;
    let connection = LazyEngine::default();
    let exit_code = Cell::new(None);
    let active = RefCell::new(None);
    let work = async |record: &mut Record, _: &Output| {
        let engine = connection.get().await?;
        let inspected = engine.inspect_target(record).await?;
        let container = reference::container_name(&inspected);
        exit_code.set(Some(run_shell(engine, container, args.user.as_deref(), &active).await?));
        Ok(())
    };
    // The record is for a next stage: it is not printed on a terminal.
    let failed = Cell::new(None);
    let at_terminal = async |record: &mut Record, output: &Output| {
        if let Err(failure) = work(record, output).await {
            tool.report_failure(&failure);
            failed.set(Some(failure.kind.exit_status()));
        }
        Ok(())
    };
    // One at a time: there is one terminal.
    let pipe = Pipe::new(tool, 1);
    let status = if std::io::stdout().is_terminal() {
        pipe.for_each(input, at_terminal).await?
    } else {
        pipe.filter(input, work).await?
    };
    // A signal, or a closed terminal, ended the tool before the shell.
    let left = active.take();
    if let Some(exec) = left {
        let _ = exec.terminate("HUP", HANG_UP_GRACE).await;
    }
    match (failed.get(), exit_code.get()) {
        (Some(failed), _) if status == ExitStatus::SUCCESS => Ok(ExitStatus(failed)),
        (None, Some(code)) if status.0 <= 1 => Ok(ExitStatus(u8::try_from(code).unwrap_or(1))),
        _ => Ok(status),
    }
}

/// Runs a shell until it ends, and returns its exit code.
async fn run_shell(
    engine: &Engine,
    container: &str,
    user: Option<&str>,
    active: &RefCell<Option<Exec>>,
) -> Result<i64> {
    for command in SHELLS {
        let request = ExecRequest {
            container: container.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: std::env::var("TERM").map(|term| format!("TERM={term}")).into_iter().collect(),
            user: user.map(str::to_owned),
            stdin: true,
            terminal: true,
            ..ExecRequest::default()
        };
        let exec = Exec::create(engine, request).await?;
        let terminal = Terminal::open_raw()?;
        active.replace(Some(exec.clone()));
        let start_error = connect_terminal(&exec, container, &terminal).await?;
        active.take();
        drop(terminal);
        match exec.end_state(start_error).await {
            Ok(ExecEnd::Exited(code)) => return Ok(code),
            Ok(ExecEnd::NotStarted(_)) => {}
            // HUP, as when a terminal is closed.
            Err(failure) => {
                return Err(exec.abandon("HUP", failure, "run the same command again to open another shell").await);
            }
        }
    }
    start_failure::check_workdir(engine, container, None).await?;
    Err(Failure::new(Kind::ScriptNotFound, format!("`{container}` contains neither bash nor sh")))
}

/// Connects the terminal to the shell until the shell ends. Returns whether its output may be the engine's message that
/// it could not be started.
async fn connect_terminal(exec: &Exec, container: &str, terminal: &Terminal) -> Result<bool> {
    let Streams { mut output, mut input } = exec.start().await?;
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::new(Kind::Io, format!("cannot watch the terminal's size: {error}")))?;
    resize(exec, terminal).await;
    let mut typed = [0; 4096];
    let mut first = true;
    let mut start_error = false;
    loop {
        tokio::select! {
            piece = output.next() => match piece {
                None => return Ok(start_error),
                Some(piece) => {
                    let bytes = piece.engine_context("read from the shell in", Subject::Container(container))?.into_bytes();
                    if std::mem::take(&mut first) && maybe_start_error(&bytes) {
                        start_error = true;
                    } else {
                        write_to(terminal, &bytes).await?;
                    }
                }
            },
            read = terminal.read(&mut typed) => match read {
                Ok(length) if length > 0 => {
                    // Fails if the shell has ended: then its output ends too.
                    let _ = input.write_all(&typed[..length]).await;
                    let _ = input.flush().await;
                }
                // The terminal was closed: the shell gets HUP, as a local shell does.
                _ => {
                    exec.terminate("HUP", HANG_UP_GRACE).await?;
                    return Ok(false);
                }
            },
            _ = resized.recv() => resize(exec, terminal).await,
        }
    }
}

/// Gives the shell's terminal the size of the user's.
async fn resize(exec: &Exec, terminal: &Terminal) {
    if let Some((rows, columns)) = terminal.size() {
        // A shell with another size is still useful.
        let _ = exec.resize(rows, columns).await;
    }
}

async fn write_to(terminal: &Terminal, bytes: &[u8]) -> Result<()> {
    terminal
        .write(bytes)
        .await
        .map_err(|error| Failure::new(Kind::Io, format!("cannot write to the terminal: {error}")))
}
