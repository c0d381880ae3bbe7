//! `ncaas-logs state`.

use ncaas_tests::Run;
use ncaas_tests::engine::CleanUp;
use ncaas_tests::logs::{run_container, start_container};

#[test]
fn state_reports_how_a_container_ended() {
    let mut clean_up = CleanUp::new();
    let state = |name: &str| Run::tool("ncaas-logs").args(["state", name]).run();
    let good = state(&run_container(&mut clean_up, &[], "sleep 0.3")).ok().record().container.unwrap();
    assert_eq!(
        (good.status.as_deref(), good.exit_code, good.signal, good.restarts),
        (Some("success"), Some(0), None, Some(0))
    );
    assert!(good.duration_s.unwrap() < 60.0 && good.started_at < good.finished_at);
    let killed = state(&run_container(&mut clean_up, &[], "bash -c 'kill -9 $$'; exit $?"));
    let container = killed.record().container.unwrap();
    assert_eq!((killed.status, container.status.as_deref(), container.signal), (1, Some("killed"), Some(9)));
    let failed = state(&run_container(&mut clean_up, &[], "exit 3"));
    assert_eq!((failed.status, failed.record().container.unwrap().exit_code), (1, Some(3)));
    let runs = state(&start_container(&mut clean_up, &[], "sleep 600")).ok().record().container.unwrap();
    assert_eq!((runs.state.as_str(), runs.status, runs.exit_code), ("running", None, None));
}
