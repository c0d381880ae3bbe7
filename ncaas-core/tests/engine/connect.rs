//! Reaching an engine, and what is said where none answers.

use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use ncaas_core::engine::Engine;
use ncaas_core::engine::address::Address;
use ncaas_core::failure::{Failure, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::test_container::TestContainer;

async fn failing(variables: &[(&str, &str)]) -> Failure {
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    match Address::resolve(&variable) {
        Ok(address) => Engine::connect_to(address).await.unwrap_err(),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn the_engine_in_the_environment_answers() {
    let engine = Engine::connect().await.unwrap();
    assert!(engine.docker().version().await.unwrap().api_version.is_some());
}

#[tokio::test]
async fn a_missing_engine_is_unreachable_at_its_address() {
    for (host, reason) in [
        ("unix:///nowhere/docker.sock", "the socket `/nowhere/docker.sock` does not exist"),
        ("tcp://127.0.0.1:1", "connection refused"),
        ("https://127.0.0.1:1", "connection refused"),
    ] {
        let failure = failing(&[("DOCKER_HOST", host)]).await;
        assert_eq!(failure.kind, Kind::EngineUnreachable, "{failure}");
        let start = format!("no Docker Engine answers at `{host}` (DOCKER_HOST): ");
        assert!(failure.message.starts_with(&start) && failure.message.contains(reason), "{failure}");
        assert!(failure.hint.is_some());
    }
}

#[tokio::test]
async fn missing_certificates_are_named_and_nothing_is_sent_unencrypted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let tls = [("DOCKER_HOST", host.as_str()), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/nowhere")];
    let failure = failing(&tls).await;
    assert_eq!(failure.kind, Kind::EngineUnreachable);
    assert!(failure.message.contains("/nowhere/ca.pem"), "{failure}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a connection was made without certificates");
}

#[tokio::test]
async fn another_server_is_not_an_engine() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let greet = async {
        let (mut client, _) = listener.accept().await.unwrap();
        assert!(client.read_u8().await.is_ok());
        client.write_all(b"220 mail.example.com at your service\r\n").await.unwrap();
        client
    };
    let variables = [("DOCKER_HOST", host.as_str())];
    let (failure, _client) = tokio::join!(failing(&variables), greet);
    assert_eq!(failure.kind, Kind::EngineUnreachable);
    assert!(failure.message.ends_with("the server at this address is not a Docker Engine"), "{failure}");
}

#[tokio::test]
async fn an_error_message_of_ssh_is_reported() {
    let failure = failing(&[("DOCKER_HOST", "ssh://nobody@127.0.0.1:1")]).await;
    assert_eq!(failure.kind, Kind::EngineUnreachable);
    assert!(failure.message.contains("connect to host 127.0.0.1 port 1"), "{failure}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_both_directions_and_its_end() {
    let container = TestContainer::running("sleep 60", &[]).await;
    let config = ExecConfig {
        cmd: Some(vec!["cat".to_owned()]),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        ..Default::default()
    };
    let docker = container.engine.docker();
    let exec = docker.create_exec(&container.name, config).await.unwrap();
    let StartExecResults::Attached { mut output, mut input } = docker.start_exec(&exec.id, None).await.unwrap() else {
        unreachable!("it was to be attached")
    };
    let sent = vec![b'x'; 300_000];
    let send = async {
        input.write_all(&sent).await.unwrap();
        input.shutdown().await.unwrap();
    };
    let receive = async {
        let mut received = Vec::new();
        while let Some(piece) = output.next().await {
            received.extend_from_slice(&piece.unwrap().into_bytes());
        }
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert_eq!(received.len(), sent.len());
}
