//! Reaching an engine, and what is said where none answers.

use ncaas_core::engine::Engine;
use ncaas_core::engine::address::Address;
use ncaas_core::failure::{Failure, Kind};

async fn failing(variables: &[(&str, &str)]) -> Failure {
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    match Address::resolve(&variable) {
        Ok(address) => Engine::connect_to(address).await.unwrap_err(),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn the_engine_of_this_machine_answers() {
    let engine = Engine::connect().await.unwrap();
    assert!(!engine.is_remote());
    assert!(engine.docker().version().await.unwrap().api_version.is_some());
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable_at_its_address() {
    for (host, reason) in [
        ("unix:///nowhere/docker.sock", "there is no socket"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("https://127.0.0.1:1", "Connection refused"),
    ] {
        let failure = failing(&[("DOCKER_HOST", host)]).await;
        assert_eq!(failure.kind, Kind::EngineUnreachable, "{failure}");
        let start = format!("no Docker Engine answers at `{host}` (DOCKER_HOST): ");
        assert!(failure.message.starts_with(&start) && failure.message.contains(reason), "{failure}");
        assert!(failure.hint.is_some());
    }
}

#[tokio::test]
async fn missing_certificates_are_named_and_nothing_is_sent_in_plain() {
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
async fn what_ssh_complains_about_is_said() {
    let failure = failing(&[("DOCKER_HOST", "ssh://nobody@127.0.0.1:1")]).await;
    assert_eq!(failure.kind, Kind::EngineUnreachable);
    assert!(failure.message.contains("connect to host 127.0.0.1 port 1"), "{failure}");
}
