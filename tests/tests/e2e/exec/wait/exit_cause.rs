//! `ncaas-exec wait`: exit codes, signals, memory and time limits as the cause of a job's end.

use std::process::Command;
use std::time::{Duration, Instant};

use ncaas_tests::engine::{docker, is_podman, is_remote};
use ncaas_tests::record::Container;
use ncaas_tests::workspace::Workspace;
use serde_json::json;

fn container_after(flags: &[&str], script: &str) -> Container {
    Workspace::new().run_to_end(flags, &["sh", "-c", script]).container.unwrap()
}

#[test]
fn an_exit_code_that_engines_use_is_reported_as_the_jobs_own() {
    for code in [3, 125, 126, 127] {
        let container = container_after(&[], &format!("exit {code}"));
        assert_eq!((container.status.as_deref(), container.exit_code), (Some("failed"), Some(code)));
        assert_eq!((container.signal, container.oom, container.stopped_by), (None, Some(json!(false)), None));
    }
}

#[test]
fn an_out_of_memory_job_is_reported_with_evidence() {
    let container = container_after(&["--memory", "20m"], "exec tail /dev/zero");
    assert_eq!(container.status.as_deref(), Some("out-of-memory"));
    assert_eq!((container.signal, container.oom), (Some(9), Some(json!(true))));
    // The engine sets its flag only where it hears of the kill in time, and Podman hardly ever.
    let witnesses =
        if is_podman() { &["the kernel's log"][..] } else { &["OOMKilled", "event oom", "the kernel's log"] };
    let is_told = |words: &String| witnesses.iter().any(|witness| words.contains(witness));
    assert!(container.oom_evidence.iter().any(is_told), "{:?}", container.oom_evidence);
}

#[test]
fn a_job_whose_child_was_oom_killed_succeeds_with_a_warning() {
    let record = Workspace::new().run_to_end(&["--memory", "20m"], &["sh", "-c", "(tail /dev/zero); sleep 1"]);
    let container = record.container.unwrap();
    assert_eq!((container.status.as_deref(), container.oom), (Some("success"), Some(json!(true))));
    assert!(record.warnings.unwrap()[0].contains("was killed because memory ran out"));
}

#[test]
fn a_killed_job_is_not_reported_as_out_of_memory() {
    let by = |end: &dyn Fn(&str)| {
        let workspace = Workspace::new();
        let started = workspace.start(&[], &["sleep", "60"]);
        let value: serde_json::Value = serde_json::from_slice(&started).unwrap();
        end(value["container"]["id"].as_str().unwrap());
        workspace.exec(&["wait"]).stdin(started).run().record().container.unwrap()
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
fn a_job_that_does_not_handle_term_ends_at_its_time_limit() {
    let workspace = Workspace::new();
    // Within the time after which a job that handles TERM is killed, it would succeed.
    let started = workspace.start(&["--timeout", "1s"], &["sh", "-c", "sleep 7"]);
    let container = workspace.exec(&["wait"]).stdin(started).run().record().container.unwrap();
    // The engine of another machine does not show how its processes handle signals.
    let expected = if is_remote() { "success" } else { "timeout" };
    assert_eq!(container.status.as_deref(), Some(expected));
}

#[test]
fn a_time_limit_holds_after_the_tool_that_started_the_job_has_ended() {
    let workspace = Workspace::new();
    let started = workspace.start(&["--timeout", "2s"], &["sh", "-c", "trap 'exit 3' TERM; sleep 60 & wait"]);
    let began = Instant::now();
    let record = workspace.exec(&["wait"]).stdin(started).run().record();
    let container = record.container.unwrap();
    assert_eq!((container.status.as_deref(), container.stopped_by.as_deref()), (Some("timeout"), Some("timeout")));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(container.duration_s.unwrap() >= 2.0);
}
