//! `ncaas-exec in`: run a command in a running container.

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::time::Duration;

use bollard::container::LogOutput;
use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, STOP_GRACE_S, Subject, reference};
use ncaas_core::environment::parse_variables;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe, RecordArgs, describe_interruption, stdout_hang_up};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{DetachedExec, RecordFields};
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::InArgs;
use crate::detached_exec::start_detached;
use crate::docker_exec::{
    Exec, ExecEnd, ExecRequest, OutputStream, Streams, maybe_connection_error, maybe_start_error,
};
use crate::start_failure::find_exec_cause;

/// Time between TERM and KILL after a timeout.
const TIMEOUT_GRACE: Duration = Duration::from_secs(STOP_GRACE_S.unsigned_abs() as u64);
/// The same after an interrupt, when the tool has to end within a second.
const INTERRUPT_GRACE: Duration = Duration::from_millis(300);
/// How long after an interrupt the tool waits for the end of the command.
const INTERRUPT_LIMIT: Duration = Duration::from_millis(700);

pub(crate) async fn run_in_container(tool: Tool, args: InArgs) -> Result<ExitStatus> {
    let container = args.container.clone();
    // A slow engine may not have answered when the tool has to end.
    let executed = tokio::select! {
        biased;
        executed = execute(tool, args) => executed,
        () = async { tool.interrupted().await; sleep(INTERRUPT_LIMIT).await } => Err(interrupted(&container, false)),
    };
    match executed {
        Err(failure) if failure.kind != Kind::Interrupted => {
            tool.report_failure(&failure);
            Ok(ExitStatus::TOOL_FAILED)
        }
        status => status,
    }
}

fn interrupted(container: &str, has_ended: bool) -> Failure {
    let end = if has_ended { format!("the command in `{container}` was stopped") } else { not_stopped(container) };
    Failure::new(Kind::Interrupted, describe_interruption([end]))
}

fn not_stopped(container: &str) -> String {
    format!("could not stop the command in `{container}`; it may still be running")
}

async fn execute(tool: Tool, args: InArgs) -> Result<ExitStatus> {
    let engine = Engine::connect().await?;
    let env = parse_variables(&args.env)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let inspected = engine.inspect_named(&args.container).await?;
    let container = reference::container_name(&inspected).to_owned();
    let request = ExecRequest {
        container: container.clone(),
        command: args.command.clone(),
        env,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        stdin: args.interactive,
        terminal: false,
    };
    if args.detach {
        return detach(tool, &engine, request, &args.records).await;
    }
    let exec = tokio::select! {
        biased;
        () = tool.interrupted() => {
            let left = format!("the command in `{container}` was not started");
            return Err(Failure::new(Kind::Interrupted, describe_interruption([left])));
        }
        exec = Exec::create(&engine, request) => exec?,
    };
    let Streams { output, input } = exec.start().await?;
    let mut output = OutputCopy::new(&container, output);
    match copy_streams(tool, &exec, &mut output, input, &args).await {
        Copied::Finished(Ok(OutputReader::Open)) => {}
        Copied::Finished(Ok(OutputReader::Closed)) => {
            // The engine notices the end of the process only if its remaining output can be discarded.
            drop(output);
            if !exec.kill().await {
                tool.note(&not_stopped(&container));
            }
            return Ok(ExitStatus::SUCCESS);
        }
        Copied::Finished(Err(failure)) => {
            exec.kill().await;
            return Err(failure);
        }
        Copied::Interrupted { has_ended } => return Err(interrupted(&container, has_ended)),
        Copied::TimedOut { has_ended } => {
            let seconds = args.timeout.unwrap_or_default();
            let exceeded = format!("the command in `{container}` exceeded its time limit of {seconds} s");
            let message = if has_ended {
                format!("{exceeded} and was stopped")
            } else {
                format!("{exceeded}: {}", not_stopped(&container))
            };
            return Err(Failure::new(Kind::Timeout, message));
        }
    }
    let end = match exec.end_state(!output.held.is_empty()).await {
        Ok(end) => end,
        // The connection was lost: the command may still run, and its exit code is unknown.
        Err(failure) => {
            let hint = "run it again; a command started with `--detach` survives a lost connection";
            return Err(exec.abandon("KILL", failure, hint).await);
        }
    };
    match end {
        ExecEnd::Exited(code) => {
            output.release().await?;
            Ok(ExitStatus::of_command(code))
        }
        ExecEnd::NotStarted(code) => {
            if let Some(failure) = start_failure(&engine, &container, &output, &args).await {
                return Err(failure);
            }
            output.release().await?;
            Ok(ExitStatus::of_command(code))
        }
    }
}

/// Copies the command's streams until its output ends, its time is over or the tool is interrupted.
async fn copy_streams(
    tool: Tool,
    exec: &Exec,
    output: &mut OutputCopy,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    args: &InArgs,
) -> Copied {
    let deadline = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut copy, mut stdin) = (pin!(output.copy()), pin!(copy_stdin(input)));
    let mut hang_up = pin!(stdout_hang_up());
    let mut has_stdin = args.interactive;
    loop {
        tokio::select! {
            copied = &mut copy => return Copied::Finished(copied),
            () = tool.interrupted() => {
                tokio::select! {
                    _ = exec.terminate("INT", INTERRUPT_GRACE) => {}
                    _ = &mut copy => {}
                }
                return Copied::Interrupted { has_ended: exec.kill().await };
            }
            () = sleep_until_deadline(deadline) => {
                return Copied::TimedOut { has_ended: terminate_after_timeout(exec, copy).await };
            }
            () = &mut hang_up => return Copied::Finished(Ok(OutputReader::Closed)),
            () = &mut stdin, if has_stdin => has_stdin = false,
        }
    }
}

/// The cause why a command could not be started. None if it has run: the engine's message is its own output.
async fn start_failure(engine: &Engine, container: &str, output: &OutputCopy, args: &InArgs) -> Option<Failure> {
    let command = args.command.first().cloned().unwrap_or_default();
    let text: Vec<_> = output.held.iter().map(|piece| String::from_utf8_lossy(piece.as_ref())).collect();
    match find_exec_cause(engine, container, &command, args.workdir.as_deref()).await {
        // On Podman, a command without a visible cause has run.
        None if engine.is_podman().await => None,
        None => {
            let message = format!("cannot start `{command}`: {}", text.concat().trim());
            Some(Failure::new(Kind::EngineError, message))
        }
        cause => cause,
    }
}

/// Starts a detached command, and writes the record with which `ncaas-exec wait` finds it.
async fn detach(tool: Tool, engine: &Engine, request: ExecRequest, args: &RecordArgs) -> Result<ExitStatus> {
    let mut record = Record::for_argument(&request.container);
    engine.inspect_target(&mut record).await?;
    let detached = start_detached(engine, request).await?;
    if shows_table(args.json) {
        let DetachedExec { name, exit_file, .. } = &detached;
        tool.note(&format!("started `{name}`; when it ends, `{exit_file}` in the container contains its exit code"));
    }
    record.merge(&RecordFields { exec: Some(detached), ..RecordFields::default() });
    Pipe::for_records(tool, args).filter(Input::record(record), async |_: &mut Record, _: &Output| Ok(())).await
}

/// Why copying the output stopped.
enum Copied {
    Finished(Result<OutputReader>),
    Interrupted { has_ended: bool },
    TimedOut { has_ended: bool },
}

/// Whether the reader of this tool's output is still there.
enum OutputReader {
    Open,
    Closed,
}

/// Sends TERM to the process, and KILL after the grace period; its output is copied meanwhile. Returns whether the
/// process has ended.
async fn terminate_after_timeout(exec: &Exec, copy: impl Future<Output = Result<OutputReader>>) -> bool {
    let terminate = async {
        // If this fails, KILL fails too, and its outcome is reported.
        let _ = exec.signal("TERM").await;
        sleep(TIMEOUT_GRACE).await;
    };
    tokio::select! {
        () = terminate => {}
        _ = copy => {}
    }
    exec.kill().await
}

async fn sleep_until_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Copies a process's output to stdout and stderr.
struct OutputCopy {
    container: String,
    output: OutputStream,
    /// Output that may be a message of the engine.
    held: Vec<LogOutput>,
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
}

impl OutputCopy {
    fn new(container: &str, output: OutputStream) -> Self {
        let (stdout, stderr) = (tokio::io::stdout(), tokio::io::stderr());
        OutputCopy { container: container.to_owned(), output, held: Vec::new(), stdout, stderr }
    }

    /// Copies all output unchanged, but holds back what may be a message of the engine.
    async fn copy(&mut self) -> Result<OutputReader> {
        let mut is_first = true;
        while let Some(piece) = self.output.next().await {
            let piece = piece.engine_context("read from the command in", Subject::Container(&self.container))?;
            let hold = if is_first {
                maybe_start_error(piece.as_ref())
            } else {
                !self.held.is_empty() && maybe_connection_error(piece.as_ref())
            };
            is_first = false;
            self.held.push(piece);
            if hold {
                continue;
            }
            match self.write_held().await {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(OutputReader::Closed),
                written => written.map_err(|error| write_failure(&error))?,
            }
        }
        Ok(OutputReader::Open)
    }

    /// Writes the output that was held back.
    async fn release(&mut self) -> Result<()> {
        self.write_held().await.map_err(|error| write_failure(&error))
    }

    async fn write_held(&mut self) -> std::io::Result<()> {
        for piece in self.held.drain(..) {
            match piece {
                LogOutput::StdErr { message } => write_flushed(&mut self.stderr, &message).await?,
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    write_flushed(&mut self.stdout, &message).await?;
                }
            }
        }
        Ok(())
    }
}

fn write_failure(error: &std::io::Error) -> Failure {
    Failure::new(ncaas_core::failure::io_kind(error), format!("cannot write the command's output: {error}"))
}

async fn write_flushed(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Copies stdin to the process, and its end.
async fn copy_stdin(mut input: Pin<Box<dyn AsyncWrite + Send>>) {
    // Fails if the process ends before it has read everything.
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
    let _ = input.shutdown().await;
    // Dropping the connection would close both directions.
    sleep(Duration::MAX).await;
}
