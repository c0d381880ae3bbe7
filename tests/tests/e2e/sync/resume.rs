//! Transfers that were cut off go on in the next process, and send only what is missing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::wait_until;

use super::trees::sync;

/// LocalStack behind a port of the test's own, which passes on so many bytes each way and then holds still.
struct Gate {
    url: String,
    sent: Arc<Flow>,
    received: Arc<Flow>,
}

struct Flow {
    limit: AtomicU64,
    passed: AtomicU64,
    /// After how many bytes each connection breaks off.
    breaks: AtomicU64,
}

impl Flow {
    fn new() -> Arc<Self> {
        let without_end = || AtomicU64::new(u64::MAX);
        Arc::new(Flow { limit: without_end(), passed: AtomicU64::new(0), breaks: without_end() })
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    fn is_shut(&self) -> bool {
        self.passed() >= self.limit.load(Ordering::Relaxed)
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        let mut of_this = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let held = self.is_shut();
            while self.is_shut() {
                // Whoever is held here is killed by the test.
                std::thread::sleep(Duration::from_millis(5));
            }
            if held {
                // What lies in the sockets' buffers is lost, as with a machine that went down.
                break;
            }
            self.passed.fetch_add(read as u64, Ordering::Relaxed);
            of_this += read as u64;
            if to.write_all(&buffer[..read]).is_err() || of_this >= self.breaks.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }
}

impl Gate {
    fn new() -> Self {
        let server = std::env::var("AWS_ENDPOINT_URL").expect("`make test` sets it").replace("http://", "");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, received) = (Flow::new(), Flow::new());
        let (up, down) = (Arc::clone(&sent), Arc::clone(&received));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(&server) else { return };
                let (to_server, to_client) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                let (up, down) = (Arc::clone(&up), Arc::clone(&down));
                std::thread::spawn(move || up.pass(client, to_server));
                std::thread::spawn(move || down.pass(upstream, to_client));
            }
        });
        Gate { url, sent, received }
    }
}

/// Runs a transfer until the flow is shut at `limit`, kills it, and opens the flow again.
fn archive_interrupted(run: ncaas_tests::Run, flow: &Flow, limit: u64) {
    flow.limit.store(limit, Ordering::Relaxed);
    let mut child =
        run.into_command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the transfer to be under way", Duration::from_secs(300), || flow.is_shut());
    child.kill().unwrap();
    child.wait().unwrap();
    flow.limit.store(u64::MAX, Ordering::Relaxed);
    flow.passed.store(0, Ordering::Relaxed);
}

/// Many more parts than are on their way at once: of those, each may be cut off.
const SIZE: u64 = 72_000_000;
const CUT_OFF_AT: u64 = 64_000_000;

#[test]
fn an_upload_and_a_download_that_were_killed_go_on_where_they_stopped() {
    let bucket = TestBucket::s3("resume");
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    let folder = home.path().join("tree");
    std::fs::create_dir(&folder).unwrap();
    let content: Vec<u8> = (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.join("large"), &content).unwrap();
    let target = format!("{}/lab", bucket.address());
    let push = || sync(&home, &["push", folder.to_str().unwrap(), &target]).env("AWS_ENDPOINT_URL", &gate.url);

    archive_interrupted(push(), &gate.sent, CUT_OFF_AT);
    let uploads = sync(&home, &["uploads", &target]).run().ok().json();
    assert_eq!(uploads.len(), 1);
    let none = sync(&home, &["uploads", &target, "--older-than", "1h", "--drop"]).run().ok();
    assert_eq!(none.text(), "", "nothing is that old");
    push().run().ok();
    let sent = gate.sent.passed();
    // A server may keep a part that came in part: it does not count.
    assert!(sent < SIZE - (16 << 20), "{sent} bytes went, though {uploads:?} was there");
    assert_eq!(bucket.get("lab/large").unwrap(), content);
    assert_eq!(sync(&home, &["uploads", &target]).run().ok().text(), "", "none is left");

    let io_dir = home.path().join("io");
    let pull =
        || sync(&home, &["pull", &target, "--io-dir", io_dir.to_str().unwrap()]).env("AWS_ENDPOINT_URL", &gate.url);
    gate.received.passed.store(0, Ordering::Relaxed);
    archive_interrupted(pull(), &gate.received, SIZE * 5 / 6);
    assert!(!io_dir.join("lab/large").exists(), "no file has its name before it is whole");
    pull().run().ok();
    let received = gate.received.passed();
    // Ranges that are under way at once are lost, as far as they had come.
    assert!(received < SIZE * 2 / 3, "{received} bytes came, though five sixths of {SIZE} had come before");
    assert_eq!(std::fs::read(io_dir.join("lab/large")).unwrap(), content);
    assert_eq!(ncaas_tests::bucket::files_below(&io_dir), ["lab/large"]);
}

#[test]
fn a_download_goes_on_from_a_server_that_breaks_off_again_and_again() {
    let bucket = TestBucket::s3("resume");
    let home = tempfile::tempdir().unwrap();
    let gate = Gate::new();
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bucket.put("lab/large", &content);
    gate.received.breaks.store(3 << 20, Ordering::Relaxed);
    let (target, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let pull = sync(&home, &["pull", &target, "--io-dir", io_dir.to_str().unwrap()]);
    pull.env("AWS_ENDPOINT_URL", &gate.url).run().ok();
    assert_eq!(std::fs::read(io_dir.join("lab/large")).unwrap(), content);
    // What was on its way when a connection broke came twice.
    let received = gate.received.passed();
    assert!(received < 30_000_000, "{received} bytes came of {}", content.len());
}

#[test]
fn an_upload_that_was_given_up_can_be_dropped() {
    let bucket = TestBucket::s3("resume");
    let TestBucket::S3 { name, client, runtime } = &bucket else { panic!("a bucket on S3") };
    runtime.block_on(client.create_multipart_upload().bucket(name).key("lab/x").send()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let dropped = sync(&home, &["uploads", &bucket.address(), "--drop"]).run().ok().json();
    assert_eq!((&dropped[0]["key"], &dropped[0]["dropped"]), (&"lab/x".into(), &true.into()));
    assert_eq!(sync(&home, &["uploads", &bucket.address()]).run().ok().text(), "");
}
