//! A proxy in front of LocalStack that can stop or break transfers after a number of bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::wait_until;

/// A proxy in front of LocalStack that forwards a number of bytes in each direction and then stalls.
pub struct S3Proxy {
    /// The value of `AWS_ENDPOINT_URL` for it.
    pub url: String,
    /// From the tool to the server.
    pub sent: Arc<ProxyDirection>,
    /// From the server to the tool.
    pub received: Arc<ProxyDirection>,
    /// Whether the server behind it can be reached.
    pub outage: Arc<ProxyOutage>,
}

/// A server that cannot be reached, or refuses all requests.
#[derive(Default)]
pub struct ProxyOutage {
    /// Each connection is closed at once.
    pub is_away: AtomicBool,
    /// Each request is answered with status 503.
    pub is_busy: AtomicBool,
    /// How many connections it has refused.
    pub refused: AtomicU64,
    /// Breaks one request of this many: in turns before it arrives and before its answer arrives. 0 breaks none.
    pub breaks_one_in: AtomicU64,
    requests: AtomicU64,
}

/// The treatment of a piece of a request.
enum Fate {
    Passes,
    Lost,
    AnswerLost,
}

impl ProxyOutage {
    fn has_begun(&self) -> bool {
        self.is_away.load(Ordering::Relaxed) || self.is_busy.load(Ordering::Relaxed)
    }

    /// The fate of bytes that a client sends. Pieces in the middle of a request pass.
    fn fate(&self, sent: &[u8]) -> Fate {
        let one_in = self.breaks_one_in.load(Ordering::Relaxed);
        let methods: [&[u8]; 5] = [b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE "];
        if one_in == 0 || !methods.iter().any(|method| sent.starts_with(method)) {
            return Fate::Passes;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match (number % one_in, number / one_in % 2) {
            (0, 0) => Fate::Lost,
            (0, _) => Fate::AnswerLost,
            _ => Fate::Passes,
        }
    }

    fn refuse(&self, mut client: TcpStream) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if self.is_busy.load(Ordering::Relaxed) {
            let mut request = [0; 4096];
            drop(client.read(&mut request));
            drop(client.write_all(b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
        drop(client.shutdown(Shutdown::Both));
    }
}

/// Bytes that pass in one direction.
pub struct ProxyDirection {
    limit: AtomicU64,
    /// How many bytes have passed.
    pub passed: AtomicU64,
    /// After how many bytes each connection breaks off.
    pub breaks: AtomicU64,
}

impl ProxyDirection {
    fn new() -> Arc<Self> {
        let without_end = || AtomicU64::new(u64::MAX);
        Arc::new(ProxyDirection { limit: without_end(), passed: AtomicU64::new(0), breaks: without_end() })
    }

    /// How many bytes have passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Stops as soon as this number of bytes has passed.
    pub fn hold_after(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Whether it holds still.
    pub fn limit_reached(&self) -> bool {
        self.passed() >= self.limit.load(Ordering::Relaxed)
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, outage: &ProxyOutage, is_sent: bool) {
        let mut buffer = vec![0; 64 << 10];
        let mut of_this = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let fate = if is_sent { outage.fate(&buffer[..read]) } else { Fate::Passes };
            if outage.has_begun() || matches!(fate, Fate::Lost) {
                break;
            }
            let held = self.limit_reached();
            while self.limit_reached() {
                // The test kills a tool that is held here.
                std::thread::sleep(Duration::from_millis(5));
            }
            if held {
                // The content of the sockets' buffers is lost, as with a machine that went down.
                break;
            }
            self.passed.fetch_add(read as u64, Ordering::Relaxed);
            of_this += read as u64;
            let is_passed = to.write_all(&buffer[..read]).is_ok();
            if !is_passed || matches!(fate, Fate::AnswerLost) || of_this >= self.breaks.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }
}

impl Default for S3Proxy {
    fn default() -> Self {
        Self::new()
    }
}

impl S3Proxy {
    /// Starts to listen.
    pub fn new() -> Self {
        let server = std::env::var("AWS_ENDPOINT_URL").expect("`make test` sets it").replace("http://", "");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, received) = (ProxyDirection::new(), ProxyDirection::new());
        let (up, down) = (Arc::clone(&sent), Arc::clone(&received));
        let outage = Arc::<ProxyOutage>::default();
        let begun = Arc::clone(&outage);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if begun.has_begun() {
                    let begun = Arc::clone(&begun);
                    std::thread::spawn(move || begun.refuse(client));
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server) else { return };
                let (to_server, to_client) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                let (outage_up, outage_down) = (Arc::clone(&begun), Arc::clone(&begun));
                std::thread::spawn(move || up.pass(client, to_server, &outage_up, true));
                std::thread::spawn(move || down.pass(upstream, to_client, &outage_down, false));
            }
        });
        S3Proxy { url, sent, received, outage }
    }

    /// Begins an outage when as many bytes have been sent as `sent.hold_after` said before the transfer began.
    pub fn begin_outage(&self, outage: &AtomicBool) {
        wait_until("files to be sent", Duration::from_secs(60), || self.sent.limit_reached());
        outage.store(true, Ordering::Relaxed);
        self.sent.hold_after(u64::MAX);
    }
}

/// Runs a transfer until the flow is shut at `limit`, kills it, and opens the flow again.
pub fn kill_transfer_at(run: crate::Run, flow: &ProxyDirection, limit: u64) {
    flow.hold_after(limit);
    let mut child =
        run.into_command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the transfer to be under way", Duration::from_secs(300), || flow.limit_reached());
    child.kill().unwrap();
    child.wait().unwrap();
    flow.limit.store(u64::MAX, Ordering::Relaxed);
    flow.passed.store(0, Ordering::Relaxed);
}
