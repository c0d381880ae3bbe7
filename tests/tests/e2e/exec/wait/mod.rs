//! `ncaas-exec wait`.

mod engine_restart;
mod exit_cause;

use ncaas_tests::engine::docker;
use ncaas_tests::workspace::Workspace;

#[test]
fn wait_for_a_named_container_exits_with_its_exit_code() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["sh", "-c", "exit 42"]);
    let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
    let name = value["container"]["name"].as_str().unwrap();
    let waited = workspace.exec(&["wait", name]).run().ended_saying(42, " failed (exit 42)");
    assert_eq!(waited.record().job.unwrap().id, value["job"]["id"].as_str().unwrap());
    assert_eq!(workspace.exec(&["wait", "no-such-container"]).run().status, 125);
}

#[test]
fn a_container_that_is_removed_during_wait_is_reported() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["sleep", "60"]);
    let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
    docker(&["rm", "-f", value["container"]["id"].as_str().unwrap()]);
    let waited = workspace.exec(&["wait"]).stdin(started).run();
    assert_eq!((waited.status, waited.record().error_kind()), (1, "container-not-found"));
}
