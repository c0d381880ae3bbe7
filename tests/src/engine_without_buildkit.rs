//! An engine without BuildKit: the machine's engine behind a socket that refuses to open a session.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::Run;
use crate::build_context::ncaas_build;

/// A socket that passes every request but `POST /session` on to the machine's engine.
pub struct EngineWithoutBuildKit(tempfile::TempDir);

impl EngineWithoutBuildKit {
    /// Starts to listen.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        // It lives as long as the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                std::thread::spawn(move || serve(client.unwrap()));
            }
        });
        EngineWithoutBuildKit(folder)
    }

    /// A run of `ncaas-build` on it.
    pub fn build(&self) -> Run {
        ncaas_build().env("DOCKER_HOST", format!("unix://{}/engine.sock", self.0.path().display()))
    }
}

/// One connection. Either side may go at any time, which ends it.
pub fn serve(client: UnixStream) {
    let mut from_client = BufReader::new(client.try_clone().unwrap());
    let mut first_line = String::new();
    from_client.read_line(&mut first_line).unwrap();
    let mut to_client = client;
    if first_line.starts_with("POST /session ") {
        let answer =
            "HTTP/1.1 404 Not Found\r\nContent-Length: 28\r\nConnection: close\r\n\r\n{\"message\":\"page not found\"}";
        to_client.write_all(answer.as_bytes()).unwrap();
        return;
    }
    let engine = UnixStream::connect(engine()).unwrap();
    let (mut to_engine, mut from_engine) = (engine.try_clone().unwrap(), engine);
    std::thread::spawn(move || {
        copy(&mut from_engine, &mut to_client);
        to_client.shutdown(std::net::Shutdown::Both).unwrap_or(());
    });
    if to_engine.write_all(first_line.as_bytes()).is_ok() {
        copy(&mut from_client, &mut to_engine);
    }
    to_engine.shutdown(std::net::Shutdown::Write).unwrap_or(());
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn engine() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").into()
}
