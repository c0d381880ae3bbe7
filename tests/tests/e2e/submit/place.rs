//! `ncaas-submit place`: jobs of a real Slurm, each of whose nodes has an engine.

use std::time::Duration;

use ncaas_tests::cluster::CONTROLLER;
use ncaas_tests::cluster_lab::{Lab, Mixture};
use ncaas_tests::wait_until;
use serde_json::Value;

#[test]
fn datasets_run_on_the_nodes_of_a_cluster_and_their_results_come_back() {
    let lab = Lab::new(&["n1", "n2"]);
    lab.submit("1", &[("a.txt", "1\na"), ("b.txt", "1\nb"), ("c.txt", "0\nfail")]);
    lab.submit("2", &[("d.txt", "0\nd")]);

    assert_eq!(lab.place(""), 1, "one analysis failed: {}", lab.stderr());
    for (dataset, status) in [("a.txt", "success"), ("b.txt", "success"), ("c.txt", "failed"), ("d.txt", "success")] {
        let last = lab.last_record(dataset);
        assert_eq!(
            (&last["pushed"], &last["container"]["status"]),
            (&Value::from(true), &Value::from(status)),
            "{last}"
        );
    }
    let records = lab.records();
    let states: Vec<&str> = records
        .iter()
        .filter(|record| record["dataname"] == "lab/inputs/d.txt")
        .filter_map(|record| record["placement"]["state"].as_str())
        .collect();
    assert_eq!(states.first(), Some(&"pending"), "{states:?}");

    assert_eq!(lab.read("1", "process_results/a.txt/out.txt"), "1\na");
    assert_eq!(lab.read("1", "process_results/b.txt/out.txt"), "1\nb");
    assert_eq!(lab.read("2", "process_results/out.txt"), "0\nd");
    assert!(lab.has_ended("1") && lab.has_ended("2"));
    assert_eq!(lab.certificate_statuses("1"), ["SUCCESS", "SUCCESS", "FAILED"]);
    lab.check_nodes_are_clean();

    // A placer that comes after the end submits nothing.
    assert_eq!(lab.place(""), 0, "{}", lab.stderr());
    assert_eq!(lab.records().len(), records.len());
}

#[test]
fn a_job_that_the_scheduler_cancels_is_reported_by_its_node() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("long.txt", "600\nx")]);
    let pipe = lab.start("--once", "");
    lab.wait_for_container("n1");
    lab.cluster.bash(CONTROLLER, "scancel --me");
    assert_eq!(lab.wait(pipe), 1);
    let last = lab.last_record("long.txt");
    assert_eq!(last["container"]["status"], "killed", "{last}");
    assert_eq!(last["error"], Value::Null);
    assert!(lab.has_ended("1"));
    lab.check_nodes_are_clean();
}

#[test]
fn each_submission_ends_once_although_watcher_placer_and_controller_are_killed() {
    let lab = Lab::new(&["n1", "n2"]);
    let mixture = Mixture::submit(&lab, 6, 1);
    let pipe = lab.start("", "");
    wait_until("the first submission has ended", Duration::from_secs(60), || mixture.ended() > 0);
    lab.kill_pipe(pipe);
    lab.cluster.kill_controller();
    let pipe = lab.start("", "");
    lab.cluster.start_controller();
    lab.wait_for_end(&mixture.timestamps, Duration::from_secs(120));
    lab.end_pipe(pipe);
    mixture.check(1);
    lab.check_nodes_are_clean();
}
