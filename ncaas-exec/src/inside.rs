//! `ncaas-exec in`: one command in a running container, as if it were run here.

use std::io::ErrorKind;
use std::time::Duration;

use bollard::container::LogOutput;
use futures_util::StreamExt;
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::InArgs;
use crate::diagnosis;
use crate::exec::{Asks, Exec, Outcome, Pieces, Streams, may_be_the_engines_next_word, may_be_the_engines_word};
use crate::settings::variable;
use crate::subject;

/// The exit status where we failed, and not the command.
const OUR_FAILURE: u8 = 125;
/// Between TERM and KILL at a timeout.
const STOP_GRACE_S: Duration = Duration::from_secs(10);
/// The same after Ctrl-C: the tool has to end within a second.
const SHORT_GRACE: Duration = Duration::from_millis(300);

pub(crate) async fn inside(tool: Tool, args: InArgs) -> Result<ExitStatus> {
    match one(tool, args).await {
        Err(failure) if failure.kind != Kind::Interrupted => {
            tool.report_failure(&failure);
            Ok(ExitStatus(OUR_FAILURE))
        }
        ended => ended,
    }
}

async fn one(tool: Tool, args: InArgs) -> Result<ExitStatus> {
    let engine = Engine::connect().await?;
    let mut env = Vec::new();
    for text in &args.env {
        env.extend(variable(text)?.map(|(name, value)| format!("{name}={value}")));
    }
    let asks = Asks {
        container: args.container.clone(),
        command: args.command.clone(),
        env,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        stdin: args.interactive,
        terminal: false,
    };
    if args.detach {
        return detach(tool, &engine, asks).await;
    }
    let exec = Exec::create(&engine, asks).await?;
    let Streams { output, input } = exec.start().await?;
    let deadline = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut passing = Passing::new(&args.container, output);

    let ended = {
        let pass = passing.pass();
        tokio::pin!(pass);
        let send = send_stdin(args.interactive, input);
        tokio::pin!(send);
        let mut sending = args.interactive;
        loop {
            tokio::select! {
                ended = &mut pass => break Ended::ByItself(ended),
                () = tool.interrupted() => {
                    tokio::select! {
                        _ = exec.end("INT", SHORT_GRACE) => {}
                        _ = &mut pass => {}
                    }
                    let _ = exec.signal("KILL").await;
                    break Ended::Interrupted;
                }
                () = at(deadline) => {
                    end(&exec, "TERM", STOP_GRACE_S, pass).await?;
                    break Ended::TimedOut;
                }
                () = &mut send, if sending => sending = false,
            }
        }
    };
    match ended {
        Ended::ByItself(Ok(Reader::Listens)) => {}
        Ended::ByItself(Ok(Reader::Gone)) => {
            // The engine must get rid of what it has still to say, or it hears nothing of the process's end.
            drop(passing);
            exec.signal("KILL").await?;
            return Ok(ExitStatus::SUCCESS);
        }
        Ended::ByItself(Err(failure)) => {
            let _ = exec.signal("KILL").await;
            return Err(failure);
        }
        Ended::Interrupted => {
            let words = format!("interrupted: the command in `{}` was ended too", args.container);
            return Err(Failure::new(Kind::Interrupted, words));
        }
        Ended::TimedOut => {
            let seconds = args.timeout.unwrap_or_default();
            let words = format!("the command in `{}` ran longer than {seconds} s, and was ended", args.container);
            return Err(Failure::new(Kind::Timeout, words));
        }
    }
    let outcome = match exec.outcome(!passing.held.is_empty()).await {
        Ok(outcome) => outcome,
        // A connection that broke off leaves the command running, with nobody to hear of it.
        Err(failure) => {
            let hint = "run it again; with `ncaas-exec in --detach` it would need no connection";
            return Err(exec.abandon("KILL", failure, hint).await);
        }
    };
    match outcome {
        Outcome::Exited(code) => {
            passing.release().await?;
            Ok(ExitStatus(u8::try_from(code).unwrap_or(OUR_FAILURE)))
        }
        Outcome::NotStarted(code) => {
            let command = args.command.first().cloned().unwrap_or_default();
            let words: Vec<_> = passing.held.iter().map(|piece| String::from_utf8_lossy(piece.as_ref())).collect();
            let failure =
                Failure::new(Kind::EngineError, format!("cannot start `{command}`: {}", words.concat().trim()));
            let workdir = args.workdir.as_deref();
            let found = diagnosis::of_exec(&engine, &args.container, &command, workdir, failure.clone()).await;
            // What nothing keeps from being started has run, and these are its own words.
            if found == failure && engine.is_podman().await {
                passing.release().await?;
                return Ok(ExitStatus(u8::try_from(code).unwrap_or(OUR_FAILURE)));
            }
            Err(found)
        }
    }
}

/// Leaves the command to itself, and writes the record by which `ncaas-exec wait` knows it.
async fn detach(tool: Tool, engine: &Engine, asks: Asks) -> Result<ExitStatus> {
    let mut record = subject::of_name(&asks.container);
    subject::look(engine, &mut record).await?;
    let detached = crate::detach::start(engine, asks).await?;
    record.merge(&Known { exec: Some(detached), ..Known::default() });
    Pipe::new(tool, 1).filter(Input::record(record), async |_: &mut Record, _: &Output| Ok(())).await
}

/// How the passing on of output ended.
enum Ended {
    ByItself(Result<Reader>),
    Interrupted,
    TimedOut,
}

/// Whether anybody reads what we pass on.
enum Reader {
    Listens,
    Gone,
}

/// Ends the process and all that it has started: with a signal, and with KILL what is left after `grace`. What is said
/// meanwhile is passed on.
async fn end(exec: &Exec<'_>, signal: &str, grace: Duration, pass: impl Future<Output = Result<Reader>>) -> Result<()> {
    let asked = async {
        exec.signal(signal).await?;
        sleep(grace).await;
        Ok(())
    };
    tokio::select! {
        asked = asked => asked?,
        _ = pass => {}
    }
    exec.signal("KILL").await
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A process's output on its way to ours.
struct Passing {
    container: String,
    output: Pieces,
    /// Output that may be no output, until it is known.
    held: Vec<LogOutput>,
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
}

impl Passing {
    fn new(container: &str, output: Pieces) -> Self {
        let (stdout, stderr) = (tokio::io::stdout(), tokio::io::stderr());
        Passing { container: container.to_owned(), output, held: Vec::new(), stdout, stderr }
    }

    /// Passes all output on, byte for byte.
    async fn pass(&mut self) -> Result<Reader> {
        let mut first = true;
        while let Some(piece) = self.output.next().await {
            let piece = piece.engine_context("read from the command in", Subject::Container(&self.container))?;
            let is_doubtful = match first {
                true => may_be_the_engines_word(piece.as_ref()),
                false => !self.held.is_empty() && may_be_the_engines_next_word(piece.as_ref()),
            };
            first = false;
            self.held.push(piece);
            if is_doubtful {
                continue;
            }
            match self.release_all().await {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Reader::Gone),
                written => written.map_err(|error| cannot_write(&error))?,
            }
        }
        Ok(Reader::Listens)
    }

    async fn release(&mut self) -> Result<()> {
        self.release_all().await.map_err(|error| cannot_write(&error))
    }

    async fn release_all(&mut self) -> std::io::Result<()> {
        for piece in self.held.drain(..) {
            match piece {
                LogOutput::StdErr { message } => write(&mut self.stderr, &message).await?,
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    write(&mut self.stdout, &message).await?;
                }
            }
        }
        Ok(())
    }
}

fn cannot_write(error: &std::io::Error) -> Failure {
    Failure::new(ncaas_core::failure::io_kind(error), format!("cannot write the command's output: {error}"))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Passes our stdin on, and its end.
async fn send_stdin(wanted: bool, mut input: std::pin::Pin<Box<dyn AsyncWrite + Send>>) {
    if wanted {
        // The process may end before it has read all.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
        let _ = input.shutdown().await;
        // Dropped, the connection would close both ways.
        sleep(Duration::MAX).await;
    }
}
