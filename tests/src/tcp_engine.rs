//! The machine's engine behind a TCP port, as if it were on another machine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The engine's socket behind a TCP port, as an engine on another machine is.
pub fn tcp_engine() -> String {
    tcp_engine_with_switch().0
}

/// The same, with a switch that holds everything back while it is set.
pub fn tcp_engine_with_switch() -> (String, Arc<AtomicBool>) {
    let switch = Arc::<AtomicBool>::default();
    (forward(&switch, None), switch)
}

/// The same, with a switch that is set by the first request that begins with `method`, and holds back the answers to
/// all requests while it is set.
pub fn tcp_engine_that_holds_answers(method: &'static str) -> (String, Arc<AtomicBool>) {
    let switch = Arc::<AtomicBool>::default();
    (forward(&switch, Some(method)), switch)
}

/// Forwards connections to the engine. With `method`, the first such request sets the switch, which holds back answers
/// only.
fn forward(switch: &Arc<AtomicBool>, method: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
    let socket = host.strip_prefix("unix://").unwrap().to_owned();
    let is_held = Arc::clone(switch);
    let first = Arc::new(AtomicBool::new(method.is_some()));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let engine = UnixStream::connect(&socket).unwrap();
            let (mut from_client, mut to_engine) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            let (held, first) = (Arc::clone(&is_held), Arc::clone(&first));
            std::thread::spawn(move || {
                pass(&mut from_client, &mut to_engine, |request| match method {
                    None => wait_while(&held),
                    Some(method) if request.starts_with(method.as_bytes()) && first.swap(false, Ordering::SeqCst) => {
                        held.store(true, Ordering::SeqCst);
                    }
                    Some(_) => {}
                });
                drop(to_engine.shutdown(Shutdown::Write));
            });
            let (mut from_engine, mut to_client) = (engine, client);
            let held = Arc::clone(&is_held);
            std::thread::spawn(move || {
                pass(&mut from_engine, &mut to_client, |_| wait_while(&held));
                drop(to_client.shutdown(Shutdown::Write));
            });
        }
    });
    format!("tcp://{address}")
}

fn wait_while(is_held: &AtomicBool) {
    while is_held.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pass(from: &mut impl Read, to: &mut impl Write, wait: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        wait(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
