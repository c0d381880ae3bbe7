//! `ncaas-exec wait`.

mod engine_restart;
mod exit_cause;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, unique};

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

/// The author of an image does not act on containers by labels.
#[test]
fn a_time_limit_that_a_container_has_from_its_image_is_not_enforced() {
    let mut clean_up = CleanUp::new();
    let (base, image) = (docker(&["create", FIXTURE]), unique("ncaas/limited"));
    clean_up.container(&base);
    docker(&["commit", "--change", "LABEL org.neurocaas.timeout=1", &base, &image]);
    let container = docker(&["run", "-d", "--network=none", &image, "sh", "-c", "sleep 3; exit 5"]);
    clean_up.container(&container);
    clean_up.image(&image);
    let waited = Run::tool("ncaas-exec").args(["wait", &container]).run();
    assert_eq!(waited.status, 5, "{}", waited.stderr);
}
