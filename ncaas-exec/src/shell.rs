//! `ncaas-exec shell`: an interactive shell in a container, with the user's own terminal.

use std::cell::Cell;
use std::io::IsTerminal;

use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ShellArgs;
use crate::exec::{Asks, Exec, Outcome, Streams, may_be_the_engines_word};
use crate::subject;
use crate::terminal::Terminal;

/// bash, or else sh.
const BEST_SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash; exec sh";
/// What to try, in this order.
const SHELLS: [&[&str]; 2] = [&["sh", "-c", BEST_SHELL], &["bash"]];

pub(crate) async fn shell(tool: Tool, args: ShellArgs) -> Result<ExitStatus> {
    let named: Vec<String> = args.container.iter().cloned().collect();
    let input = subject::input(tool, &named, "ncaas-exec start IMAGE | ncaas-exec shell")?;
    let connection = LazyEngine::default();
    let exit_code = Cell::new(None);
    let work = async |record: &mut Record, _: &Output| {
        let engine = connection.get().await?;
        let container = subject::look(engine, record).await?;
        exit_code.set(Some(enter(engine, &container.name, args.user.as_deref()).await?));
        Ok(())
    };
    // The record goes on to a next stage, but not onto the terminal.
    let failed = Cell::new(None);
    let at_terminal = async |record: &mut Record, output: &Output| {
        if let Err(failure) = work(record, output).await {
            tool.report_failure(&failure);
            failed.set(Some(failure.kind.exit_status()));
        }
        Ok(())
    };
    // One after the other: there is one terminal.
    let pipe = Pipe::new(tool, 1);
    let status = match std::io::stdout().is_terminal() {
        true => pipe.each(input, at_terminal).await?,
        false => pipe.filter(input, work).await?,
    };
    match (failed.get(), exit_code.get()) {
        (Some(failed), _) if status == ExitStatus::SUCCESS => Ok(ExitStatus(failed)),
        (None, Some(code)) if status.0 <= 1 => Ok(ExitStatus(u8::try_from(code).unwrap_or(1))),
        _ => Ok(status),
    }
}

/// Runs a shell to its end. Its exit code.
async fn enter(engine: &Engine, container: &str, user: Option<&str>) -> Result<i64> {
    for command in SHELLS {
        let asks = Asks {
            container: container.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: std::env::var("TERM").map(|term| format!("TERM={term}")).into_iter().collect(),
            user: user.map(str::to_owned),
            stdin: true,
            terminal: true,
            ..Asks::default()
        };
        let exec = Exec::create(engine, asks).await?;
        let terminal = Terminal::take()?;
        let engine_spoke = converse(&exec, container, &terminal).await?;
        drop(terminal);
        match exec.outcome(engine_spoke).await {
            Ok(Outcome::Exited(code)) => return Ok(code),
            Ok(Outcome::NotStarted(_)) => {}
            // As when a terminal is closed.
            Err(failure) => {
                return Err(exec.abandon("HUP", failure, "the same command again opens another shell").await);
            }
        }
    }
    Err(Failure::new(Kind::ScriptNotFound, format!("there is neither bash nor sh in `{container}`")))
}

/// Carries what is typed to the shell and what it says to the terminal, until it ends.
/// Whether the engine spoke in its place.
async fn converse(exec: &Exec<'_>, container: &str, terminal: &Terminal) -> Result<bool> {
    let Streams { mut output, mut input } = exec.start().await?;
    let mut resized = signal(SignalKind::window_change()).map_err(|error| {
        Failure::new(Kind::Io, format!("cannot listen for changes of the terminal's size: {error}"))
    })?;
    fit(exec, terminal).await;
    let mut typed = [0; 4096];
    let mut first = true;
    let mut engine_spoke = false;
    loop {
        tokio::select! {
            piece = output.next() => match piece {
                None => return Ok(engine_spoke),
                Some(piece) => {
                    let bytes = piece.engine_context("read from the shell in", Subject::Container(container))?.into_bytes();
                    if std::mem::take(&mut first) && may_be_the_engines_word(&bytes) {
                        engine_spoke = true;
                    } else {
                        show(terminal, &bytes).await?;
                    }
                }
            },
            read = terminal.read(&mut typed) => match read {
                Ok(length) if length > 0 => {
                    // A shell that has ended reads nothing more; its output's end tells.
                    let _ = input.write_all(&typed[..length]).await;
                    let _ = input.flush().await;
                }
                // The terminal has gone: so does the shell, as it would at home.
                _ => {
                    exec.signal("HUP").await?;
                    return Ok(false);
                }
            },
            _ = resized.recv() => fit(exec, terminal).await,
        }
    }
}

/// Gives the shell's terminal the size of ours.
async fn fit(exec: &Exec<'_>, terminal: &Terminal) {
    if let Some((rows, columns)) = terminal.size() {
        // A shell of another size is of use too.
        let _ = exec.resize(rows, columns).await;
    }
}

async fn show(terminal: &Terminal, bytes: &[u8]) -> Result<()> {
    terminal
        .write(bytes)
        .await
        .map_err(|error| Failure::new(Kind::Io, format!("cannot write to the terminal: {error}")))
}
