//! How a job ended, and who ended it: the truth about exit codes, signals, memory and time limits.

use std::process::Command;
use std::time::{Duration, Instant};

use ncaas_tests::engine::{docker, is_podman};
use ncaas_tests::record::Container;
use serde_json::json;

use crate::exec_run::Place;

fn ended(flags: &[&str], script: &str) -> Container {
    Place::new().to_the_end(flags, &["sh", "-c", script]).container.unwrap()
}

#[test]
fn an_exit_code_is_the_jobs_own_even_where_engines_use_it() {
    for code in [3, 125, 126, 127] {
        let container = ended(&[], &format!("exit {code}"));
        assert_eq!((container.status.as_deref(), container.exit_code), (Some("failed"), Some(code)));
        assert_eq!((container.signal, container.oom, container.stopped_by), (None, Some(json!(false)), None));
    }
}

#[test]
fn a_job_out_of_memory_is_told_with_its_evidence() {
    let container = ended(&["--memory", "20m"], "exec tail /dev/zero");
    assert_eq!(container.status.as_deref(), Some("out-of-memory"));
    assert_eq!((container.signal, container.oom), (Some(9), Some(json!(true))));
    // The engine sets its flag only where it hears of the kill in time, and Podman hardly ever.
    let witnesses =
        if is_podman() { &["the kernel's log"][..] } else { &["OOMKilled", "event oom", "the kernel's log"] };
    let is_told = |words: &String| witnesses.iter().any(|witness| words.contains(witness));
    assert!(container.oom_evidence.iter().any(is_told), "{:?}", container.oom_evidence);
}

#[test]
fn a_job_that_lost_a_child_for_memory_is_a_success_with_a_warning() {
    let record = Place::new().to_the_end(&["--memory", "20m"], &["sh", "-c", "(tail /dev/zero); exit 0"]);
    let container = record.container.unwrap();
    assert_eq!((container.status.as_deref(), container.oom), (Some("success"), Some(json!(true))));
    assert!(record.warnings.unwrap()[0].contains("killed for memory"));
}

#[test]
fn a_kill_is_no_lack_of_memory() {
    let by = |end: &dyn Fn(&str)| {
        let place = Place::new();
        let started = place.start(&[], &["sleep", "60"]);
        let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
        end(value["container"]["id"].as_str().unwrap());
        place.exec(&["wait"]).stdin(started).run().record().container.unwrap()
    };
    let engine = by(&|id| drop(docker(&["kill", id])));
    assert_eq!((engine.status.as_deref(), engine.oom, engine.signal), (Some("killed"), Some(json!(false)), Some(9)));
    assert_eq!(engine.stopped_by.as_deref(), Some("user"));
    let kernel = by(&|id| {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", id]);
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    });
    assert_eq!((kernel.status.as_deref(), kernel.signal, kernel.stopped_by), (Some("killed"), Some(9), None));
    // Whether some process was killed for memory in the same moment is not always to be known.
    assert_ne!(kernel.oom, Some(json!(true)));
}

#[test]
fn a_stop_is_told_whatever_the_job_makes_of_the_signal() {
    let place = Place::new();
    let started = place.start(&[], &["sh", "-c", "trap 'exit 5' TERM; sleep 60 & wait"]);
    let stopped = place.exec(&["stop"]).stdin(started).run().record().container.unwrap();
    assert_eq!((stopped.exit_code, stopped.stopped_by.as_deref()), (Some(5), Some("user")));
    assert_eq!(stopped.status.as_deref(), Some("failed"));
}

#[test]
fn a_time_limit_holds_also_when_the_tool_that_started_the_job_has_gone() {
    let place = Place::new();
    let started = place.start(&["--timeout", "2s"], &["sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait"]);
    let began = Instant::now();
    let record = place.exec(&["wait"]).stdin(started).run().record();
    let container = record.container.unwrap();
    assert_eq!((container.status.as_deref(), container.stopped_by.as_deref()), (Some("timeout"), Some("timeout")));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(container.duration_s.unwrap() >= 2.0);
}

#[test]
fn a_wait_for_one_container_ends_with_its_exit_code() {
    let place = Place::new();
    let started = place.start(&[], &["sh", "-c", "exit 42"]);
    let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
    let name = value["container"]["name"].as_str().unwrap();
    let waited = place.exec(&["wait", name]).run().ended(42, "");
    assert_eq!(waited.record().job.unwrap().id, value["job"]["id"].as_str().unwrap());
    assert_eq!(place.exec(&["wait", "no-such-container"]).run().status, 125);
}

#[test]
fn a_container_removed_while_it_is_waited_for_is_told() {
    let place = Place::new();
    let started = place.start(&[], &["sleep", "60"]);
    let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
    docker(&["rm", "-f", value["container"]["id"].as_str().unwrap()]);
    let waited = place.exec(&["wait"]).stdin(started).run();
    assert_eq!((waited.status, waited.record().error_kind()), (1, "container-not-found"));
}
