//! `ncaas-submit place`: jobs of a real Slurm, each of whose nodes has an engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ncaas_tests::cluster::CONTROLLER;
use ncaas_tests::cluster_lab::{Lab, Mixture};
use ncaas_tests::engine::{CleanUp, FIXTURE};
use ncaas_tests::{Run, tools, unique, wait_until};
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

/// A node comes back after a power failure, and Slurm starts there the job that ran before and another one at once.
#[test]
fn a_job_that_clears_a_node_does_not_touch_the_next_run_of_a_killed_job() {
    let folder = tempfile::tempdir().unwrap();
    let mut clean_up = CleanUp::new();
    let job = unique("requeued");
    let placement = format!("slurm:{job}");
    let killed = Run::tool("ncaas-exec").args(["run", FIXTURE, "--placement", &placement, "--", "sleep", "600"]);
    let killed = killed.dir(folder.path()).run().ok().record().container.unwrap().id;
    clean_up.container(&killed);
    let node = String::from_utf8(Command::new("hostname").output().unwrap().stdout).unwrap();
    let marks = folder.path().join("io-dir/.ncaas/placements").join(node.trim());
    fs::create_dir_all(&marks).unwrap();
    fs::write(marks.join(&placement), "1").unwrap();

    // The engine of such a node is slow.
    let slow = folder.path().join("ncaas-exec");
    let removing = folder.path().join("removing");
    let real = tools().join("ncaas-exec");
    let script = format!(
        "#!/bin/sh\ncase $*:$SLURM_JOB_ID in rm*{placement}:other) touch {0}; sleep 4;; esac\nexec {1} \"$@\"\n",
        removing.display(),
        real.display()
    );
    fs::write(&slow, script).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();

    let mut other = node_job(folder.path(), "other", "cat >/dev/null");
    wait_until("another job removes what is left", Duration::from_secs(60), || removing.exists());
    let run = format!(
        "cat >/dev/null; ncaas-exec run {FIXTURE} --placement {placement} -- sleep 6 | ncaas-exec wait -q >ended.json"
    );
    let mut requeued = node_job(folder.path(), &job, &run);
    assert!(other.wait().unwrap().success());
    let status = requeued.wait().unwrap();
    let ended: Value = serde_json::from_slice(&fs::read(folder.path().join("ended.json")).unwrap()).unwrap();
    let container = &ended["container"];
    clean_up.container(container["id"].as_str().unwrap());
    assert_eq!((container["status"].as_str(), status.code()), (Some("success"), Some(0)), "{ended}");
    assert_ne!(container["id"], killed, "the killed run was not removed");
    assert_eq!(fs::read_dir(&marks).unwrap().count(), 0);
}

/// Starts the script of a node for the job `id` of Slurm, with `command` for the pipe.
fn node_job(folder: &Path, id: &str, command: &str) -> Child {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ncaas-submit/serve/job")).unwrap();
    let script = format!("ncaas_record={{}} ncaas_command=(sh -c '{command}')\n{script}");
    let path = format!("{}:{}:{}", folder.display(), tools().display(), std::env::var("PATH").unwrap());
    let mut job = Command::new("bash");
    job.args(["-c", &script]).current_dir(folder).env("PATH", path).env("SLURM_JOB_ID", id);
    job.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}
