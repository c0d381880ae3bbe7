//! A server that is gone, that answers with errors, or whose answer is lost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ncaas_core::bucket::{Bucket, aws_settings};
use ncaas_core::failure::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{key, on_server};

async fn client_of(listener: &TcpListener) -> Client {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = aws_settings().await.unwrap();
    let config = aws_sdk_s3::config::Builder::from(&settings).endpoint_url(url).force_path_style(true);
    Client::from_conf(config.build())
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A server that gives the same answer to every request.
async fn answering(listener: TcpListener, status: &str, body: &str) {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8192];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_server_is_unreachable_within_seconds() {
    let listener = listener().await;
    let client = client_of(&listener).await;
    drop(listener);
    let started = Instant::now();
    let failure = Bucket::with_client(client, "pca").await.unwrap_err();
    assert_eq!(failure.kind, Kind::BucketUnreachable);
    assert_eq!(failure.message, "cannot list `s3://pca`: no connection to its server: connection refused");
    assert!(failure.kind.is_transient());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_answer_decides_the_kind_of_failure() {
    for (status, code, kind) in [
        ("403 Forbidden", "AccessDenied", Kind::AccessDenied),
        ("403 Forbidden", "InvalidAccessKeyId", Kind::AccessDenied),
        ("403 Forbidden", "SignatureDoesNotMatch", Kind::AccessDenied),
        ("400 Bad Request", "ExpiredToken", Kind::AccessDenied),
        ("404 Not Found", "NoSuchBucket", Kind::BucketNotFound),
        ("503 Slow Down", "SlowDown", Kind::BucketUnreachable),
        ("500 Internal Server Error", "InternalError", Kind::BucketUnreachable),
        ("404 Not Found", "", Kind::BucketError),
        ("501 Not Implemented", "NotImplemented", Kind::BucketError),
        ("400 Bad Request", "InvalidArgument", Kind::BucketError),
    ] {
        let listener = listener().await;
        let client = client_of(&listener).await;
        let body = format!("<Error><Code>{code}</Code><Message>The words of it.</Message></Error>");
        let failure = tokio::select! {
            opened = Bucket::with_client(client, "pca") => opened.unwrap_err(),
            () = answering(listener, status, &body) => unreachable!("it answers forever"),
        };
        assert_eq!(failure.kind, kind, "{code}: {failure}");
        assert!(failure.hint.is_some() || kind == Kind::BucketError, "{code}");
    }
}

#[tokio::test]
async fn a_long_invalid_answer_is_shortened_in_the_message() {
    let listener = listener().await;
    let client = client_of(&listener).await;
    let body = format!("<Error><Code>Odd</Code><Message>{}</Message></Error>", "long\n".repeat(10_000));
    let failure = tokio::select! {
        opened = Bucket::with_client(client, "pca") => opened.unwrap_err(),
        () = answering(listener, "418 Teapot", &body) => unreachable!("it answers forever"),
    };
    assert!(failure.message.len() < 500, "{}", failure.message.len());
    assert!(!failure.message.contains('\n'));
}

/// A server that lists an empty bucket, and says of every object that it is gone, with the length that it had.
async fn having_lost_all(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8192];
        let read = stream.read(&mut request).await.unwrap();
        let answer: &[u8] = match str::from_utf8(&request[..read]).unwrap().contains("list-type=2") {
            true => b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<ListBucketResult/>",
            false => b"HTTP/1.1 404 Not Found\r\ncontent-length: 4096\r\nconnection: close\r\n\r\n<Error/>",
        };
        stream.write_all(answer).await.unwrap();
    }
}

#[tokio::test]
async fn an_object_is_missing_even_if_the_404_response_is_incomplete() {
    let listener = listener().await;
    let client = client_of(&listener).await;
    let read = async {
        let bucket = Bucket::with_client(client, "pca").await.unwrap();
        bucket.read(&key("lab/gone"), 100).await.unwrap_err()
    };
    let failure = tokio::select! {
        failure = read => failure,
        () = having_lost_all(listener) => unreachable!("it answers forever"),
    };
    assert_eq!(failure.kind, Kind::ObjectNotFound, "{failure}");
}

/// Hands everything on to the real server, but loses the answers to the first `lost` PUT requests.
async fn losing_answers(listener: TcpListener, lost: &Cell<u32>) {
    let url = std::env::var("AWS_ENDPOINT_URL").unwrap();
    let server = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => connections.push(relay(accepted.unwrap().0, &server, lost)),
            Some(()) = connections.next() => (),
        }
    }
}

async fn relay(mut client: TcpStream, server: &str, lost: &Cell<u32>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut loses = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                if lost.get() > 0 && asked.starts_with(b"PUT ") {
                    lost.set(lost.get() - 1);
                    loses = true;
                }
                server.write_all(&asked[..read]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if loses {
                    return;
                }
                client.write_all(&answered[..read]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_knows_whether_it_succeeded() {
    on_server(async |bucket: Bucket| {
        let listener = listener().await;
        let client = client_of(&listener).await;
        let lost = Cell::new(0);
        let key = key("lab/claims/one");
        let test = async {
            let flaky = Bucket::with_client(client, bucket.name()).await.unwrap();
            lost.set(1);
            assert!(flaky.put_new(&key, "mine").await.unwrap().is_some());
            assert_eq!(lost.get(), 0);
            lost.set(1);
            assert!(
                flaky.put_new(&key, "mine").await.unwrap().is_none(),
                "the same content again is not the same write"
            );
            assert_eq!(lost.get(), 0);
            let (_, version) = flaky.read(&key, 100).await.unwrap();
            lost.set(1);
            assert!(flaky.put_if(&key, "mine still", &version).await.unwrap().is_some());
            assert_eq!(lost.get(), 0);
            lost.set(1);
            assert!(flaky.put_if(&key, "mine still", &version).await.unwrap().is_none());
        };
        tokio::select! {
            () = test => (),
            () = losing_answers(listener, &lost) => unreachable!("it serves forever"),
        }
    })
    .await;
}
