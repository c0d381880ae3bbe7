//! `ncaas-exec stop`.

use ncaas_tests::workspace::Workspace;

#[test]
fn stop_is_recorded_even_if_the_job_handles_the_signal() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["sh", "-c", "trap 'exit 5' TERM; sleep 60 & wait"]);
    let stopped = workspace.exec(&["stop"]).stdin(started).run().record().container.unwrap();
    assert_eq!((stopped.exit_code, stopped.stopped_by.as_deref()), (Some(5), Some("user")));
    assert_eq!(stopped.status.as_deref(), Some("failed"));
}
