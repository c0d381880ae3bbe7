//! Containers from their creation to their end: what the records say, and who waits for how long.

use std::time::{Duration, Instant};

use ncaas_core::engine::address::{Address, Endpoint};
use ncaas_core::engine::{Engine, labels};
use ncaas_core::failure::Kind;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Status;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::test_container::{ContainerOptions, TestContainer, unique};

#[tokio::test]
async fn an_exit_code_is_reported_unchanged() {
    for (script, code, status) in [("exit 0", 0, Status::Success), ("exit 3", 3, Status::Failed)] {
        let container = TestContainer::running(script, &[]).await;
        let ended = container.engine.wait(&container.name).await.unwrap();
        assert_eq!((ended.exit_code, ended.status, ended.oom_killed), (Some(code), Some(status), false), "{script}");
        assert_eq!(ended.state, "exited");
        assert!(ended.duration_s.unwrap() >= 0.0 && ended.started_at.is_some() && ended.finished_at.is_some());
        assert_eq!(ended, container.engine.container(&ended.id).await.unwrap());
    }
}

#[tokio::test]
async fn a_stopped_job_is_killed_and_stopping_it_again_succeeds() {
    let container = TestContainer::running("sleep 60", &[]).await;
    container.engine.stop(&container.name, 0).await.unwrap();
    let ended = container.engine.wait(&container.name).await.unwrap();
    assert_eq!((ended.exit_code, ended.status), (Some(137), Some(Status::Killed)));
    container.engine.stop(&container.name, 0).await.unwrap();
}

#[tokio::test]
async fn a_wait_that_begins_before_the_start_returns_the_exit() {
    let container =
        TestContainer::create(ContainerOptions { command: &["sh", "-c", "exit 4"], ..ContainerOptions::default() })
            .await;
    let before = container.engine.container(&container.name).await.unwrap();
    assert_eq!((before.state.as_str(), before.status, before.started_at), ("created", None, None));
    let start = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        container.start().await.unwrap();
    };
    let (ended, ()) = tokio::join!(container.engine.wait(&container.name), start);
    assert_eq!(ended.unwrap().exit_code, Some(4));
}

#[tokio::test]
async fn a_container_that_cannot_start_has_ended_and_failed() {
    let container =
        TestContainer::create(ContainerOptions { command: &["/no/such/script"], ..ContainerOptions::default() }).await;
    assert_eq!(container.start().await.unwrap_err().kind, Kind::EngineError);
    let ended = container.engine.wait(&container.name).await.unwrap();
    assert_eq!((ended.state.as_str(), ended.status, ended.exit_code), ("created", Some(Status::Failed), Some(127)));
    assert!(ended.has_ended());
}

#[tokio::test]
async fn a_job_that_exceeds_its_time_limit_is_stopped_and_stays_a_timeout() {
    let container = TestContainer::running("trap 'exit 3' TERM; sleep 60 & wait", &[(labels::TIMEOUT, "1")]).await;
    let begun = Instant::now();
    let ended = container.engine.wait(&container.name).await.unwrap();
    assert_eq!((ended.status, ended.exit_code), (Some(Status::Timeout), Some(3)));
    assert!(begun.elapsed() < Duration::from_secs(5), "TERM was enough: {:?}", begun.elapsed());
    assert_eq!(container.engine.container(&container.name).await.unwrap().status, Some(Status::Timeout));
}

#[tokio::test]
async fn a_job_that_ignores_the_signal_is_killed_after_the_grace_period() {
    let container = TestContainer::running("trap '' TERM; sleep 60", &[(labels::TIMEOUT, "1")]).await;
    let ended = container.engine.wait(&container.name).await.unwrap();
    assert_eq!((ended.status, ended.exit_code), (Some(Status::Timeout), Some(137)));
}

#[tokio::test]
async fn a_container_that_is_removed_during_a_request_is_not_found() {
    let container = TestContainer::running("sleep 60", &[]).await;
    let remove = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let options = bollard::query_parameters::RemoveContainerOptions { force: true, ..Default::default() };
        container.engine.docker().remove_container(&container.name, Some(options)).await.unwrap();
    };
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(container.engine.wait(&container.name), remove);
    // Between its end and its removal the engine may be caught with it.
    match ended {
        Err(failure) => assert_eq!(failure.kind, Kind::ContainerNotFound),
        Ok(ended) => assert_eq!(ended.status, Some(Status::Killed)),
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_name_that_would_change_the_request_is_not_sent() {
    let container = TestContainer::create(ContainerOptions { command: &["sh"], ..ContainerOptions::default() }).await;
    for name in ["../images/json", "nobody?", ""] {
        assert_eq!(container.engine.container(name).await.unwrap_err().kind, Kind::ContainerNotFound);
    }
    let unknown = container.engine.container(&unique("nobody")).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::ContainerNotFound);
}

#[tokio::test]
async fn a_job_is_found_by_its_record() {
    let id = unique("job__pca");
    let text = |dataset: u32| {
        format!(r#"{{"job":{{"id":"{id}","bucket":"s3://pca","dataset":{dataset},"datasets":2}},"mine":1.50}}"#)
    };
    let label = text(2);
    let labels = [(labels::JOB, id.as_str()), (labels::RECORD, label.as_str())];
    let options = ContainerOptions { command: &["sh"], labels: &labels, ..ContainerOptions::default() };
    let container = TestContainer::create(options).await;
    let found = container.engine.list_labelled(&[&format!("{}={id}", labels::JOB)]).await.unwrap();
    let [found] = found.try_into().unwrap();
    assert_eq!(found.name, container.name);
    assert_eq!(found.state, "created");
    let line = String::from_utf8(found.record().unwrap().to_line()).unwrap();
    assert!(line.contains(r#""mine":1.50"#), "{line}");
    let other = Record::parse(text(1).as_bytes()).unwrap();
    let own = Record::parse(label.as_bytes()).unwrap();
    assert!(container.engine.inspect_for(&own, &found.id).await.is_ok());
    let wrong = container.engine.inspect_for(&other, &found.id).await.unwrap_err();
    assert_eq!(wrong.kind, Kind::WrongContainer);
}

/// Passes connections on to the engine until it is dropped, and all of them with it: an engine that can go away.
async fn engine_at(socket: std::path::PathBuf, real: Address) {
    let Endpoint::Unix(real) = real.endpoint else { unreachable!("these tests need an engine on this machine") };
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut engine = UnixStream::connect(&real).await.unwrap();
        connections.spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut engine).await });
    }
}

#[tokio::test]
async fn a_wait_outlasts_a_restart_of_the_engine() {
    let container = TestContainer::running("sleep 2; exit 5", &[]).await;
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("engine.sock");
    let address = |variable: &str| (variable == "DOCKER_HOST").then(|| format!("unix://{}", socket.display()));
    let mut engines = JoinSet::new();
    engines.spawn(engine_at(socket.clone(), container.engine.address().clone()));
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let engine = Engine::connect_to(Address::resolve(&address).unwrap()).await.unwrap();
    let interruption = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        engines.abort_all();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        engines.spawn(engine_at(socket.clone(), container.engine.address().clone()));
    };
    let (ended, ()) = tokio::join!(engine.wait(&container.name), interruption);
    assert_eq!(ended.unwrap().exit_code, Some(5));
}
