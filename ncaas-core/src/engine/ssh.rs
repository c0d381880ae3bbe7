//! An engine on another machine, reached through the `ssh` of this one.
//!
//! Each connection is a process `ssh HOST docker system dial-stdio`, as in the docker CLI, whose stdin and stdout are
//! the engine's socket. Connections are kept and reused, since each costs a login. bollard's own transport supports
//! neither port, user nor socket, starts a master process for every connection, and does not show ssh's error messages.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bollard::BollardRequest;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::body::Incoming;
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::address::Ssh;

/// How much of ssh's error messages a failure contains, in bytes.
const STDERR_LIMIT: u64 = 2000;

/// The transport for requests to the engine of `target`.
pub(super) fn transport(
    target: &Ssh,
) -> impl Fn(BollardRequest) -> BoxFuture<'static, Result<Response<Incoming>, bollard::errors::Error>> + Send + Sync + use<>
{
    let connector = Connector { target: Arc::new(target.clone()) };
    let client = Client::builder(TokioExecutor::new()).build(connector);
    move |request| {
        let response = client.request(request);
        async move { Ok(response.await?) }.boxed()
    }
}

/// Opens one connection.
pub(super) fn open(target: &Ssh) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
    Tunnel::open(target)
}

/// The command line of one connection.
fn command(target: &Ssh) -> Command {
    let mut command = Command::new("ssh");
    // Several tools of one pipe cannot ask for a password on one terminal: ssh fails instead, and gives the reason.
    command.args(["-o", "ConnectTimeout=30", "-o", "BatchMode=yes", "-T"]);
    if let Some(user) = &target.user {
        command.args(["-l", user]);
    }
    if let Some(port) = target.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &target.host, "docker"]);
    if let Some(socket) = &target.socket {
        // A shell on the other machine parses this word.
        command.args(["--host", &format!("'unix://{}'", socket.replace('\'', r"'\''"))]);
    }
    command.args(["system", "dial-stdio"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C must not end it: the tool may still need the connection.
        .process_group(0);
    command
}

/// Starts an ssh process for each connection of the client.
#[derive(Clone)]
struct Connector {
    target: Arc<Ssh>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Tunnel>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(Tunnel::open(&self.target).map(TokioIo::new))
    }
}

/// One connection: the ends of an ssh process.
struct Tunnel {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// The process's stderr, read only if the process ends before the engine has answered.
    stderr: StderrState,
    /// Ends with the connection.
    _process: Child,
}

/// How far stderr is read.
enum StderrState {
    /// Nothing has come from the engine yet.
    Pending(Option<ChildStderr>),
    /// The process has ended without an answer of the engine: stderr has the reason.
    Reading(BoxFuture<'static, String>),
    /// The engine has answered: the end of the stream is not an error.
    Unused,
}

impl Tunnel {
    fn open(target: &Ssh) -> io::Result<Self> {
        let mut process = command(target).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "`ssh` is not installed on this machine"),
            _ => error,
        })?;
        let lost = || io::Error::from(io::ErrorKind::BrokenPipe);
        Ok(Tunnel {
            stdin: Some(process.stdin.take().ok_or_else(lost)?),
            stdout: process.stdout.take().ok_or_else(lost)?,
            stderr: StderrState::Pending(process.stderr.take()),
            _process: process,
        })
    }
}

impl Connection for Tunnel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tunnel = self.get_mut();
        loop {
            match &mut tunnel.stderr {
                StderrState::Unused => return Pin::new(&mut tunnel.stdout).poll_read(context, buffer),
                StderrState::Reading(message) => {
                    let message = ready!(message.as_mut().poll(context));
                    tunnel.stderr = StderrState::Unused;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, message)));
                }
                StderrState::Pending(stderr) => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut tunnel.stdout).poll_read(context, buffer))?;
                    tunnel.stderr = match stderr.take() {
                        Some(stderr) if buffer.filled().len() == before => StderrState::Reading(read_message(stderr)),
                        _ => StderrState::Unused,
                    };
                    if matches!(tunnel.stderr, StderrState::Unused) {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

/// The error message of ssh, or of docker on the other machine.
fn read_message(stderr: ChildStderr) -> BoxFuture<'static, String> {
    async move {
        let mut message = Vec::new();
        // The text before a read error is still the better reason.
        let _ = stderr.take(STDERR_LIMIT).read_to_end(&mut message).await;
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        if message.is_empty() { "ssh ended without an error message".to_owned() } else { message }
    }
    .boxed()
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closes stdin, which is the end of input for an attached process.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tunnel = self.get_mut();
        if let Some(stdin) = &mut tunnel.stdin {
            ready!(Pin::new(stdin).poll_shutdown(context))?;
        }
        tunnel.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(target: &Ssh) -> String {
        let command = command(target);
        let args: Vec<_> = command.as_std().get_args().map(|arg| arg.to_string_lossy()).collect();
        args.join(" ")
    }

    #[test]
    fn user_port_and_socket_reach_ssh() {
        let target = Ssh {
            user: Some("me".to_owned()),
            host: "h".to_owned(),
            port: Some(2222),
            socket: Some("/run/my docker.sock".to_owned()),
        };
        let end = "-l me -p 2222 -- h docker --host 'unix:///run/my docker.sock' system dial-stdio";
        assert!(words(&target).ends_with(end), "{}", words(&target));
        let plain = Ssh { host: "h".to_owned(), ..Ssh::default() };
        assert!(words(&plain).ends_with("-T -- h docker system dial-stdio"));
    }
}
