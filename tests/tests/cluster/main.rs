//! A cluster whose machines, network and daemons fail. `make test-cluster` runs it; it takes some minutes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue has failed")]

mod batch;
mod killed_test;
mod podman;

use std::process::Child;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use ncaas_tests::cluster::CONTROLLER;
use ncaas_tests::cluster_lab::{Lab, Mixture};
use ncaas_tests::shared_backlog::SharedBacklog;
use ncaas_tests::{tools, wait_until};

#[test]
fn each_of_60_submissions_ends_once_although_machines_and_daemons_fail() {
    let lab = Lab::new(&["n1", "n2"]);
    let mixture = Mixture::submit(&lab, 60, 2);
    let pipe = lab.start("", "");
    wait_until("ten submissions have ended", Duration::from_secs(120), || mixture.ended() >= 10 + 10);

    // The power of a node fails while it runs jobs, and comes back.
    lab.wait_for_container("n2");
    lab.cluster.cut("n2");
    let ended_before = mixture.saved();
    sleep(Duration::from_secs(3));

    // Watcher and placer die, and with them what reports for them.
    lab.kill_pipe(pipe);
    let pipe = lab.start("", "");
    wait_until("Slurm has noticed", Duration::from_secs(60), || {
        lab.cluster.bash(CONTROLLER, "sinfo --noheader --nodes=n2 --format=%T").text().contains("down")
    });
    lab.cluster.restore("n2");
    wait_until("half of the submissions have ended", Duration::from_secs(240), || mixture.ended() >= 30);

    lab.cluster.kill_controller();
    sleep(Duration::from_secs(3));
    lab.cluster.start_controller();

    lab.wait_for_end(&mixture.timestamps, Duration::from_secs(400));
    lab.end_pipe(pipe);
    mixture.check(2);
    // What had ended before the power failed was not run again.
    for (key, content) in ended_before {
        assert_eq!(lab.bucket.get(&key), Some(content), "{key}");
    }
    // The node that lost its power removes what was left there when it runs its next job.
    lab.submit("last", &[("last.txt", "0\nlast")]);
    assert_eq!(lab.place("--with --nodelist=n2"), 0, "{}", lab.stderr());
    lab.check_nodes_are_clean();
}

#[test]
fn a_requeued_job_leaves_no_trace_and_runs_again() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("a.txt", "4\na")]);
    let pipe = lab.start("--once", "");
    lab.wait_for_container("n1");
    assert_eq!(lab.cluster.bash(CONTROLLER, "scontrol requeue $(squeue --noheader --format=%A)").status, 0);
    check_second_run(&lab, pipe);
}

#[test]
fn a_preempted_job_leaves_no_trace_and_runs_again() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("a.txt", "4\na")]);
    let pipe = lab.start("--once", "--memory 5000m");
    lab.wait_for_container("n1");
    // It starts when the other has ended, and lists what that has left.
    let urgent =
        format!("docker ps --all --quiet; find {} -name '*.record.json' -o -name out.txt", lab.bucket.address());
    let submit = format!("sbatch --wait --partition=urgent --mem=5000 --output=urgent.out --wrap \"{urgent}\"");
    assert_eq!(lab.cluster.bash(CONTROLLER, &submit).status, 0, "{}", lab.describe());
    assert_eq!(lab.cluster.bash(CONTROLLER, "cat urgent.out").text(), "");

    check_second_run(&lab, pipe);
}

fn check_second_run(lab: &Lab, pipe: Child) {
    assert_eq!(lab.wait(pipe), 0, "{}", lab.describe());
    assert_eq!(lab.last_record("a.txt")["placement"]["restarts"], 1);
    assert_eq!(lab.saved_record("1", "a.txt")["job"]["claim"]["run"], 2);
    assert_eq!(lab.read("1", "process_results/out.txt"), "4\na");
    assert_eq!(lab.certificate_statuses("1"), ["SUCCESS"]);
    lab.check_nodes_are_clean();
}

#[test]
fn the_epilog_removes_the_container_of_a_killed_job() {
    let lab = Lab::new(&["n1"]);
    let remove = format!("{}/ncaas-exec rm --force --placement slurm:$SLURM_JOB_ID", tools().display());
    lab.cluster.bash(CONTROLLER, &format!("echo '#!/bin/sh\n{remove}' >epilog; chmod +x epilog"));
    lab.submit("1", &[("a.txt", "600\na")]);
    let pipe = lab.start("--once", "--retries 0");
    lab.wait_for_container("n1");
    lab.cluster.bash("n1", "pkill -KILL '^slurm_script|^ncaas-'");
    assert_eq!(lab.wait(pipe), 1, "{}", lab.describe());
    wait_until("the container is removed", Duration::from_secs(30), || lab.cluster.containers("n1").is_empty());
    assert_eq!(lab.saved_status("1", "a.txt"), "placement-lost", "{}", lab.describe());
    assert!(lab.has_ended("1"));
}

#[test]
fn a_container_gets_the_gpu_that_slurm_has_allotted() {
    let lab = Lab::new(&["n1"]);
    let analysis = "sleep 4; echo gpu=$NVIDIA_VISIBLE_DEVICES >io-dir/results/out.txt";
    lab.build(
        "lab/gpu",
        &format!("FROM ncaas/fixture\nENTRYPOINT [\"sh\", \"-c\", \"{analysis}\", \"gpu\"]\nCMD []\n"),
    );
    lab.submit("1", &[("a.txt", "a"), ("b.txt", "b")]);
    assert_eq!(lab.place("--image lab/gpu --gpus auto"), 0, "{}", lab.describe());
    let mut gpus = ["a.txt", "b.txt"].map(|name| lab.read("1", &format!("process_results/{name}/out.txt")));
    gpus.sort();
    assert_eq!(gpus, ["gpu=0\n", "gpu=1\n"], "{}", lab.describe());

    lab.submit("2", &[("c.txt", "c")]);
    assert_eq!(lab.place("--image lab/gpu"), 0, "{}", lab.describe());
    assert_eq!(lab.read("2", "process_results/out.txt"), "gpu=\n");
}

#[test]
fn jobs_that_wait_cost_no_requests_to_the_bucket() {
    let lab = Lab::on_s3(&["n1"]);
    assert_eq!(lab.cluster.bash(CONTROLLER, "scontrol update NodeName=n1 State=DRAIN Reason=test").status, 0);
    for queued in [10, 100] {
        for number in 0..queued {
            lab.submit(&format!("{queued}-{number}"), &[(&format!("{queued}-{number}.txt"), "0")]);
        }
        let requests = || lab.cluster.s3_requests.load(Ordering::Relaxed);
        let before = requests();
        let pipe = lab.start("--once", "");
        wait_until("all jobs are pending", Duration::from_secs(100), || {
            lab.cluster.bash(CONTROLLER, "squeue --noheader --states=PENDING").text().lines().count() == queued
        });
        let placed = requests();
        // Some ten polls.
        sleep(Duration::from_secs(5));
        let (placing, waiting) = (placed - before, requests() - placed);
        println!("{queued} queued: {placing} requests until all were placed, {waiting} in the next 5 s");
        assert!(placing <= 20 * queued && waiting == 0, "{placing} {waiting}");
        lab.end_pipe(pipe);
        lab.cluster.bash(CONTROLLER, "scancel --me");
    }
}

#[test]
fn jobs_that_slurm_has_forgotten_are_explained_by_its_accounts() {
    let lab = Lab::with_accounts(&["n1"]);
    let forget = || {
        wait_until("Slurm has forgotten the job", Duration::from_secs(100), || {
            lab.cluster.bash(CONTROLLER, "squeue --noheader --states=all").text().is_empty()
        });
        lab.signal_placer("CONT");
    };
    lab.submit("1", &[("killed.txt", "600\na")]);
    let pipe = lab.start("--once", "--retries 0");
    lab.wait_for_container("n1");
    lab.signal_placer("STOP");
    lab.cluster.bash("n1", "pkill -KILL '^slurm_script|^ncaas-'");
    forget();
    assert_eq!(lab.wait(pipe), 1, "{}", lab.describe());
    let placement = &lab.last_record("killed.txt")["placement"];
    let exit_code = lab.cluster.bash(CONTROLLER, "sacct --noheader --allocations --format=ExitCode").text();
    let reason = format!("exit code {} (sacct)", exit_code.trim());
    assert_eq!(placement["reason"], *reason, "{placement}");
    assert_eq!((&placement["state"], &placement["node"]), (&"failed".into(), &"n1".into()));
    let error = &lab.saved_record("1", "killed.txt")["error"];
    assert_eq!(error["kind"], "placement-lost");
    assert!(
        error["message"].as_str().unwrap().contains(&format!("ended without a result (failed: {reason})")),
        "{error}"
    );

    // A cancelled job is not submitted again.
    lab.cluster.bash(CONTROLLER, "scontrol update NodeName=n1 State=DRAIN Reason=test").ok();
    lab.submit("2", &[("cancelled.txt", "0\na")]);
    let pipe = lab.start("--once", "");
    wait_until("the job is pending", Duration::from_secs(60), || {
        lab.cluster.bash(CONTROLLER, "squeue --noheader --states=PENDING").text().lines().count() == 1
    });
    lab.signal_placer("STOP");
    lab.cluster.bash(CONTROLLER, "scancel --me").ok();
    forget();
    assert_eq!(lab.wait(pipe), 1, "{}", lab.describe());
    assert_eq!(lab.saved_status("2", "cancelled.txt"), "cancelled", "{}", lab.describe());
    let placement = &lab.last_record("cancelled.txt")["placement"];
    assert_eq!(placement["reason"], "by 0, exit code 0:0 (sacct)", "{placement}");
}

#[test]
fn two_placers_that_submit_the_same_record_at_once_have_one_result() {
    let mut lab = Lab::new(&["n1"]);
    lab.submit("1", &[("a.txt", "2\na")]);
    let watch = format!("ncaas-submit watch {} --once >record", lab.bucket.address());
    lab.cluster.bash(CONTROLLER, &watch).ok();
    // Neither submits its job before both have looked for one.
    let sbatch = r#"#!/bin/sh
        touch rival.$$
        until [ $(ls rival.* | wc -l) = 2 ]; do sleep 0.1; done
        exec /usr/bin/sbatch "$@""#;
    let programs = lab.cluster.folder().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::fs::write(programs.join("sbatch"), sbatch).unwrap();
    lab.cluster.run(CONTROLLER, &programs, &["chmod", "755", "sbatch"]);
    let path = format!("{}:{}:{}", programs.display(), tools().display(), std::env::var("PATH").unwrap());
    lab.variables.push(("PATH", path));

    let pipes = [(); 2].map(|()| lab.start_from("cat record", ""));
    for pipe in pipes {
        assert_eq!(lab.wait(pipe), 0, "{}", lab.describe());
    }
    wait_until("both jobs have ended", Duration::from_secs(60), || {
        lab.cluster.bash(CONTROLLER, "squeue --noheader").text().is_empty()
    });
    // The second one starts when the first has ended, and finds its saved record.
    let jobs = lab.cluster.bash(CONTROLLER, "squeue --noheader --states=all --sort=i --format='%j %S %e'").text();
    let jobs: Vec<Vec<&str>> = jobs.lines().map(|line| line.split_whitespace().collect()).collect();
    let [first, second] = jobs.as_slice() else { panic!("not two jobs: {jobs:?}") };
    assert_eq!(first[0], second[0]);
    assert!(first[2] <= second[1], "they ran at the same time: {jobs:?}");
    assert_eq!(lab.read("1", "process_results/out.txt"), "2\na");
    let log = lab.read("1", "logs/a.txt.log");
    assert_eq!(log.lines().filter(|line| line.ends_with("run")).count(), 1, "{log}");
    assert_eq!(lab.certificate_statuses("1"), ["SUCCESS"]);
    lab.check_nodes_are_clean();
}

#[test]
fn a_scheduler_that_refuses_or_does_not_answer_is_named() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("a.txt", "0")]);
    assert_eq!(lab.place("--with --partition=nowhere"), 1, "{}", lab.stderr());
    assert_eq!(lab.saved_status("1", "a.txt"), "scheduler-refused");
    let record = r#"{"job":{"id":"job__x_1","bucket":"BUCKET","group":"lab","dataset":1}}"#;
    let record = record.replace("BUCKET", &lab.bucket.address());
    lab.cluster.kill_controller();
    let unreachable = lab.cluster.bash(CONTROLLER, &format!("echo '{record}' | ncaas-submit place"));
    assert_eq!((unreachable.status, &unreachable.json()[0]["error"]["kind"]), (3, &"scheduler-unreachable".into()));
}

#[test]
fn a_job_that_is_killed_without_a_warning_is_submitted_again() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("a.txt", "4\na")]);
    let pipe = lab.start("--once", "");
    lab.wait_for_container("n1");
    lab.cluster.bash("n1", "pkill -KILL '^slurm_script|^ncaas-'");
    assert_eq!(lab.wait(pipe), 0, "{}", lab.describe());
    assert_eq!(lab.read("1", "process_results/out.txt"), "4\na");
    assert_eq!(lab.last_record("a.txt")["placement"]["restarts"], 1);
    lab.check_nodes_are_clean();
}

#[test]
fn a_cancelled_submission_stops_on_its_node() {
    let lab = Lab::new(&["n1"]);
    lab.submit("1", &[("long.txt", "600\nx")]);
    let pipe = lab.start("--once", "");
    lab.wait_for_container("n1");
    let cancel = format!("ncaas-submit cancel {}/lab 1", lab.bucket.address());
    assert_eq!(lab.cluster.bash(CONTROLLER, &cancel).status, 0);
    assert_eq!(lab.wait(pipe), 1, "{}", lab.describe());
    assert_eq!(lab.saved_status("1", "long.txt"), "killed");
    let listed = format!("ncaas-submit ls {} --state cancelled", lab.bucket.address());
    assert_eq!(lab.cluster.bash(CONTROLLER, &listed).json().len(), 1);
    assert!(lab.has_ended("1"));
    lab.check_nodes_are_clean();
}

#[test]
fn limits_of_time_and_memory_are_reported_as_on_one_machine() {
    let lab = Lab::new(&["n1"]);
    lab.bucket.put("lab/configs/short.json", r#"{"__duration__": 2}"#);
    lab.submit_with_config("1", &[("long.txt", "600\nx")], "lab/configs/short.json");
    assert_eq!(lab.place(""), 1);
    assert_eq!(lab.saved_status("1", "long.txt"), "timeout", "{}", lab.describe());

    lab.build(
        "lab/greedy",
        "FROM ncaas/fixture\nENTRYPOINT [\"sh\", \"-c\", \"exec tail /dev/zero\", \"greedy\"]\nCMD []\n",
    );
    lab.submit("2", &[("large.txt", "0\nx")]);
    assert_eq!(lab.place("--image lab/greedy --memory 32m"), 1);
    assert_eq!(lab.saved_status("2", "large.txt"), "out-of-memory", "{}", lab.describe());

    // Slurm's own limit. It counts in minutes.
    lab.submit("3", &[("slow.txt", "600\nx")]);
    assert_eq!(lab.place("--with --time=1"), 1);
    assert_eq!(lab.saved_status("3", "slow.txt"), "killed", "{}", lab.describe());
    assert!(["1", "2", "3"].iter().all(|timestamp| lab.has_ended(timestamp)));
    lab.check_nodes_are_clean();
}

#[test]
fn a_node_that_was_cut_off_and_comes_back_writes_nothing() {
    let lab = Lab::on_s3(&["n1", "n2"]);
    lab.submit("1", &[("a.txt", "8\na")]);
    let pipe = lab.start("--once", "");
    let has_container = |node: &str| !lab.cluster.containers(node).is_empty();
    wait_until("the job runs", Duration::from_secs(60), || has_container("n1") || has_container("n2"));
    let cut_off = if has_container("n1") { "n1" } else { "n2" };
    lab.cluster.link(cut_off, false);
    assert_eq!(lab.wait(pipe), 0, "{}", lab.describe());
    let last = lab.last_record("a.txt");
    assert_ne!(last["placement"]["node"], cut_off, "{last}");
    let objects = || -> Vec<_> {
        let keys = lab.bucket.keys().into_iter().filter(|key| key.starts_with("lab/results/"));
        keys.map(|key| (lab.bucket.get(&key), key)).collect()
    };
    let before = objects();

    lab.cluster.link(cut_off, true);
    wait_until("its pipe has ended", Duration::from_secs(120), || {
        lab.cluster.bash(cut_off, "pgrep '^ncaas-'").text().is_empty()
    });
    assert_eq!(objects(), before);
    assert_eq!(lab.read("1", "process_results/out.txt"), "8\na");
    lab.check_nodes_are_clean();
}

#[test]
fn three_machines_share_60_jobs_of_3_seconds() {
    let lab = Lab::new(&["n1", "n2", "n3"]);
    let backlog = SharedBacklog::run(&lab, 60, 3, 2);
    let counts: Vec<usize> = backlog.shares.values().map(|share| share.jobs.len()).collect();
    // Before the last start, submissions waited.
    let last_start = backlog.starts.iter().copied().fold(0.0, f64::max);
    let idle: Vec<f64> = backlog.shares.values().map(|share| share.longest_idle(last_start - 3.0)).collect();
    // A machine between two jobs is as slow as its engine is at that load.
    let (pause, (longest_bare, mean_bare)) = (backlog.mean_pause(2), backlog.bare_run());
    println!(
        "shares {counts:?}, {:.1} s in all, longest idle time {idle:.1?} s, mean pause {pause:.1} s, \
         bare run {longest_bare:.1} s at most and {mean_bare:.1} s on average",
        backlog.duration
    );
    assert!(counts.len() == 3 && counts.iter().all(|count| (14..=26).contains(count)), "{counts:?}");
    assert!(idle.iter().all(|idle| *idle < 3.0 * longest_bare), "{idle:?} {backlog:?}");
    assert!(pause < 3.0 * mean_bare, "{pause} {backlog:?}");
}
