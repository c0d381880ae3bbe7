//! A process in a running container, and its end.
//!
//! The engine has no way to end such a process: it goes on when its client has gone. So each carries a mark of its own
//! in its environment, which all that it starts inherit, and whoever wants to end it looks for the mark in `/proc`, from
//! a second process in the same container. That takes a shell with `read` and `kill` and nothing else.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use ncaas_core::engine::{Engine, EngineContext, Subject, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use tokio::io::AsyncWrite;
use tokio::time::sleep;

/// The variable that carries the mark.
const MARK: &str = "NCAAS_EXEC";

/// Sends the signal `$2` to all processes whose environment has the mark `$1`, and after `$3` seconds, if that is said,
/// KILL. Its own has not: the mark is an argument.
const SEND_SIGNAL: &str = r#"
send() {
marked=
for process in /proc/[0-9]*; do
    line=
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in *"$1"*) marked="$marked ${process#/proc/}"; break ;; esac
        line=
    done 2>/dev/null <"$process/environ"
done 2>/dev/null
[ -z "$marked" ] || kill -s "$2" $marked 2>/dev/null
}
send "$1" "$2"
[ -z "$3" ] || { sleep "$3"; send "$1" KILL; } 2>/dev/null
"#;

/// How engines begin the words that they write in place of the output of a process that could not be started; Podman's
/// have the second in them, and perhaps the third after them.
const COULD_NOT_START: &[u8] = b"OCI runtime exec failed";
const PODMAN_COULD_NOT_START: (&[u8], &[u8]) = (b"Error: ", b": OCI ");
const PODMAN_LOST_IT: &[u8] = b"Error: read unixpacket ";

/// How long a process whose streams have ended may take to end.
const LOOKS_FOR_END: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is to be run in which container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asks {
    pub(crate) container: String,
    pub(crate) command: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    /// Whether stdin is passed on; without it the process reads nothing.
    pub(crate) stdin: bool,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
}

/// A process in a container, made and not yet started.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    engine: &'a Engine,
    asks: Asks,
    id: String,
    mark: String,
}

/// A process's output as it comes.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// The two ends of a process's streams.
pub(crate) struct Streams {
    pub(crate) output: Pieces,
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
}

/// What a process has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran, and ended with this exit code.
    Exited(i64),
    /// It could not be started; or, with Podman, it ended with this exit code and words like the engine's.
    NotStarted(i64),
}

impl<'a> Exec<'a> {
    /// # Errors
    /// [`Kind::ContainerNotFound`]; or it does not run.
    pub(crate) async fn create(engine: &'a Engine, asks: Asks) -> Result<Self> {
        let container = reference::container(&asks.container)?.to_owned();
        let mark = format!("{MARK}={}.{}", std::process::id(), Timestamp::now().as_nanosecond());
        let options = CreateExecOptions {
            attach_stdin: Some(asks.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(!asks.terminal),
            tty: Some(asks.terminal),
            // Programs use Ctrl-P, with which the engine's own default begins.
            detach_keys: asks.terminal.then(|| "ctrl-@,ctrl-@,ctrl-_".to_owned()),
            env: Some(asks.env.iter().cloned().chain([mark.clone()]).collect()),
            cmd: Some(asks.command.clone()),
            user: asks.user.clone(),
            working_dir: asks.workdir.clone(),
            ..Default::default()
        };
        let created = engine.docker().create_exec(&container, options).await;
        let id = match created {
            Err(error) if is_not_running(&error) => {
                return Err(Failure::new(Kind::EngineError, format!("the container `{container}` does not run"))
                    .hint("`ncaas-exec ls --all` says how it fares; `docker start` starts it again"));
            }
            created => created.engine_context("run a command in", Subject::Container(&container))?.id,
        };
        Ok(Exec { engine, asks, id, mark })
    }

    /// Starts it, with its streams.
    pub(crate) async fn start(&self) -> Result<Streams> {
        let options = StartExecOptions { tty: self.asks.terminal, ..Default::default() };
        let started = self.engine.docker().start_exec(&self.id, Some(options)).await;
        match started.engine_context("run a command in", Subject::Container(&self.asks.container))? {
            StartExecResults::Attached { output, input } => Ok(Streams { output, input }),
            StartExecResults::Detached => {
                Err(Failure::new(Kind::EngineError, "the engine gives no streams of the process"))
            }
        }
    }

    /// What it has come to, once its streams have ended. `engine_spoke` says that they may have carried the engine's word
    /// and no output: then a process that has no number was never there. (Podman takes the number away at the end.)
    pub(crate) async fn outcome(&self, engine_spoke: bool) -> Result<Outcome> {
        let about = Subject::Container(&self.asks.container);
        let look = async || self.engine.docker().inspect_exec(&self.id).await.engine_context("run a command in", about);
        let mut inspected = match look().await {
            // What broke its connection may have broken those that are kept for use.
            Err(failure) if failure.kind == Kind::EngineUnreachable => look().await?,
            looked => looked?,
        };
        // Podman gives one that runs the exit code 0, and may take a moment to hear of its end.
        for _ in 0..LOOKS_FOR_END {
            if inspected.running != Some(true) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            inspected = look().await?;
        }
        let exit_code = inspected.exit_code.filter(|_| inspected.running != Some(true));
        match (exit_code, inspected.pid) {
            (Some(code @ (126 | 127)), None | Some(0)) if engine_spoke => Ok(Outcome::NotStarted(code)),
            (Some(code), _) => Ok(Outcome::Exited(code)),
            (None, _) => Err(Failure::new(
                Kind::EngineError,
                format!("the connection to the process in `{}` broke off", self.asks.container),
            )),
        }
    }

    /// Ends a process that nobody hears of any more, as far as that can be done. The failure says so, and what to do.
    pub(crate) async fn abandon(&self, signal: &str, failure: Failure, hint: &str) -> Failure {
        let message = match failure.kind {
            // A second connection would be waited for as long as the first.
            Kind::EngineUnreachable => format!("{}; the process may still run", failure.message),
            _ if self.signal(signal).await.is_ok() => format!("{}, and it was ended", failure.message),
            // The container has gone too.
            _ => return failure,
        };
        Failure { message, ..failure }.hint(hint)
    }

    /// Sends a signal to the process and to all that it has started.
    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        self.send(signal, "").await
    }

    /// The same, and after a while KILL. It is one request, which is done when it has been made: by ssh each is a login.
    pub(crate) async fn end(&self, signal: &str, grace: Duration) -> Result<()> {
        self.send(signal, &grace.as_secs_f64().to_string()).await
    }

    async fn send(&self, signal: &str, grace: &str) -> Result<()> {
        let command = ["sh", "-c", SEND_SIGNAL, "sh", &self.mark, signal, grace].map(str::to_owned).to_vec();
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            cmd: Some(command),
            user: self.asks.user.clone(),
            ..Default::default()
        };
        let docker = self.engine.docker();
        let about = Subject::Container(&self.asks.container);
        let id = docker.create_exec(&self.asks.container, options).await.engine_context("end a command in", about)?.id;
        let started = docker.start_exec(&id, None).await.engine_context("end a command in", about)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(piece) = output.next().await {
                piece.engine_context("end a command in", about)?;
            }
        }
        Ok(())
    }

    /// Gives its terminal a size.
    pub(crate) async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let options = bollard::query_parameters::ResizeExecOptions { h: i32::from(rows), w: i32::from(columns) };
        let resized = self.engine.docker().resize_exec(&self.id, options).await;
        resized.engine_context("resize a terminal in", Subject::Container(&self.asks.container))
    }
}

/// Whether a command was refused because its container does not run. Podman (4.3) says so with a 500.
fn is_not_running(error: &bollard::errors::Error) -> bool {
    let bollard::errors::Error::DockerResponseServerError { status_code, message } = error else { return false };
    *status_code == 409 || message.contains("container state improper")
}

/// Whether output may be the engine's word that the process could not be started, and no output at all.
pub(crate) fn may_be_the_engines_word(output: &[u8]) -> bool {
    let (beginning, within) = PODMAN_COULD_NOT_START;
    let is_podmans = || output.starts_with(beginning) && output.windows(within.len()).any(|bytes| bytes == within);
    output.starts_with(COULD_NOT_START) || is_podmans()
}

/// Whether output may be what the engine says after that.
pub(crate) fn may_be_the_engines_next_word(output: &[u8]) -> bool {
    output.starts_with(PODMAN_LOST_IT)
}
