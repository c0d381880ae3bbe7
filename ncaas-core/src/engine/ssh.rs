//! An engine on another machine, reached through the `ssh` of this one.
//!
//! Each connection is a process `ssh HOST docker system dial-stdio`, whose stdin and stdout are the engine's socket, as
//! the docker CLI does it; connections are kept and used again, since each costs a login. bollard's own transport
//! cannot take a port, a user and a socket, starts a master process for every connection and says nothing of what ssh
//! complained about.

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

/// How much of what ssh complains about a failure carries, in bytes.
const COMPLAINT_LIMIT: u64 = 2000;

/// How requests reach the engine of `target`.
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

/// One connection.
pub(super) fn open(target: &Ssh) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
    Tunnel::open(target)
}

/// The command line of one connection.
fn command(target: &Ssh) -> Command {
    let mut command = Command::new("ssh");
    // Several tools of one pipe cannot share a terminal to ask for a password on: ssh is to fail, and say why.
    command.args(["-o", "ConnectTimeout=30", "-o", "BatchMode=yes", "-T"]);
    if let Some(user) = &target.user {
        command.args(["-l", user]);
    }
    if let Some(port) = target.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &target.host, "docker"]);
    if let Some(socket) = &target.socket {
        // A shell on the other machine reads this word.
        command.args(["--host", &format!("'unix://{}'", socket.replace('\'', r"'\''"))]);
    }
    command.args(["system", "dial-stdio"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C is for the tool, which may still have to say something to the engine.
        .process_group(0);
    command
}

/// Starts an ssh process for every connection that the client wants.
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
    /// What the process complains about, read only where it ends without having said anything.
    complaint: Complaint,
    /// Ends with the connection.
    _process: Child,
}

enum Complaint {
    /// Nothing has come from the engine yet: if nothing does, stderr says why.
    Pending(Option<ChildStderr>),
    /// The engine does not answer, and ssh is saying why.
    Reading(BoxFuture<'static, String>),
    /// The engine has answered: the end of the stream is just its end.
    Silent,
}

impl Tunnel {
    fn open(target: &Ssh) -> io::Result<Self> {
        let mut process = command(target).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "there is no `ssh` on this machine"),
            _ => error,
        })?;
        let lost = || io::Error::from(io::ErrorKind::BrokenPipe);
        Ok(Tunnel {
            stdin: Some(process.stdin.take().ok_or_else(lost)?),
            stdout: process.stdout.take().ok_or_else(lost)?,
            complaint: Complaint::Pending(process.stderr.take()),
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
            match &mut tunnel.complaint {
                Complaint::Silent => return Pin::new(&mut tunnel.stdout).poll_read(context, buffer),
                Complaint::Reading(complaint) => {
                    let words = ready!(complaint.as_mut().poll(context));
                    tunnel.complaint = Complaint::Silent;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, words)));
                }
                Complaint::Pending(stderr) => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut tunnel.stdout).poll_read(context, buffer))?;
                    tunnel.complaint = match stderr.take() {
                        Some(stderr) if buffer.filled().len() == before => Complaint::Reading(complaint(stderr)),
                        _ => Complaint::Silent,
                    };
                    if matches!(tunnel.complaint, Complaint::Silent) {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

/// What ssh, or docker on the other machine, says about its failure.
fn complaint(stderr: ChildStderr) -> BoxFuture<'static, String> {
    async move {
        let mut words = Vec::new();
        // What has been read until an error is still the better reason.
        let _ = stderr.take(COMPLAINT_LIMIT).read_to_end(&mut words).await;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if words.is_empty() { "ssh ended without a word".to_owned() } else { words }
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

    /// Closing stdin is how the engine is told that we have no more to say: an attached process's end of input.
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
