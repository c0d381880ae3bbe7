//! The machine's engine behind a TCP port, as if it were on another machine.

use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;

/// The engine's socket behind a TCP port, as an engine on another machine is.
pub fn tcp_engine() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
    let socket = host.strip_prefix("unix://").unwrap().to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let engine = UnixStream::connect(&socket).unwrap();
            let (mut from_client, mut to_engine) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut from_client, &mut to_engine));
                drop(to_engine.shutdown(Shutdown::Write));
            });
            let (mut from_engine, mut to_client) = (engine, client);
            std::thread::spawn(move || {
                drop(std::io::copy(&mut from_engine, &mut to_client));
                drop(to_client.shutdown(Shutdown::Write));
            });
        }
    });
    format!("tcp://{address}")
}
