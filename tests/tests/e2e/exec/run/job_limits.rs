//! The limits that every job has, and the options that lift them.

use std::time::Duration;

use ncaas_tests::engine::{FIXTURE, docker};
use ncaas_tests::wait_until;
use ncaas_tests::workspace::{Workspace, container_output};

#[test]
fn a_job_has_limits_by_default_which_flags_lift_and_the_record_shows() {
    let workspace = Workspace::new();
    let inspect = |flags: &[&str]| {
        let record = workspace.run(flags, &["sleep", "60"]).record();
        let id = record.container.unwrap().id;
        let format = "{{.HostConfig.PidsLimit}} {{.HostConfig.SecurityOpt}} {{.HostConfig.CapDrop}} {{.HostConfig.LogConfig.Config}}";
        (docker(&["inspect", "--format", format, &id]), record.run.unwrap())
    };
    let (limits, run) = inspect(&[]);
    assert_eq!(limits, "2048 [no-new-privileges] [AUDIT_WRITE MKNOD NET_RAW] map[max-file:10 max-size:1073741824]");
    assert_eq!((&run["pids"], &run["log_size"]), (&2048.into(), &10_737_418_240_u64.into()));
    let (limits, run) =
        inspect(&["--pids-limit", "0", "--log-size", "0", "--allow-new-privileges", "--cap-add", "NET_RAW"]);
    assert!(
        !limits.contains("no-new-privileges") && !limits.contains("NET_RAW]") && limits.contains("1000t"),
        "{limits}"
    );
    assert_eq!((&run["pids"], &run["new_privileges"]), (&0.into(), &true.into()));
}

#[test]
fn a_job_cannot_exhaust_the_processes_of_the_machine() {
    let workspace = Workspace::new();
    let script = "i=0; while [ $i -lt 40 ]; do sleep 3 & i=$((i+1)); done; wait; echo done";
    let started = workspace.start(&["--pids-limit", "20"], &["sh", "-c", script]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().record();
    assert!(!container_output(&ended).contains("done"), "40 processes ran");
}

#[test]
fn a_read_only_job_writes_its_results_and_its_memory_file_system() {
    let workspace = Workspace::new();
    let script = "echo r > io-dir/results/r && echo t > /scratch/t && ! touch /x 2>/dev/null && echo ok";
    let started = workspace.start(&["--read-only", "--tmpfs", "/scratch:mode=1777"], &["sh", "-c", script]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded").record();
    assert_eq!(container_output(&ended), "ok");
}

#[test]
fn several_datasets_of_one_command_line_become_the_datasets_of_one_job() {
    let workspace = Workspace::new();
    workspace.write("a.npy", "A");
    workspace.write("b.npy", "B");
    let flags = ["--name", "exp1", "--data", "a.npy", "b.npy"];
    let ran = workspace.run(&flags, &["cat"]);
    let jobs: Vec<_> = ran.records().into_iter().map(|record| record.job.unwrap()).collect();
    assert_eq!(jobs.iter().map(|job| (job.id.as_str(), job.datasets)).collect::<Vec<_>>(), [("exp1", 2), ("exp1", 2)]);
    workspace.exec(&["wait"]).stdin(ran.stdout).run().ended_saying(0, " succeeded");
    workspace.run(&flags, &["cat"]).ended_saying(1, "a job with the name `exp1` exists");
    for name in ["../esc", "..", "", "a/b", "a\nb"] {
        let refused = workspace.run(&["--name", name, "--data", "a.npy"], &["cat"]);
        refused.ended_saying(2, "is not a valid folder name");
    }
    assert!(!workspace.path().join("io-dir/esc").exists());
}

#[test]
fn of_two_commands_that_begin_with_the_same_name_at_once_one_is_refused() {
    let workspace = Workspace::new();
    for file in ["a.npy", "b.npy"] {
        workspace.write(file, file);
    }
    for round in 0..5 {
        let name = format!("same{round}");
        let run = |data: &str| workspace.run(&["--name", &name, "--data", data], &["cat"]);
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| run("a.npy"));
            let other = run("b.npy");
            (one.join().unwrap(), other)
        });
        let refused: Vec<_> = [&one, &other].into_iter().filter(|ran| ran.status != 0).collect();
        assert_eq!(refused.len(), 1, "{one:?} {other:?}");
        assert!(refused[0].stderr.contains(&format!("a job with the name `{name}` exists")), "{refused:?}");
    }
}

#[test]
fn a_run_without_image_or_dataset_is_refused() {
    let workspace = Workspace::new();
    workspace.write("a.npy", "A");
    workspace.exec(&["run", "--data", "a.npy"]).run().ended_saying(2, "no image is given");
    let swallowed = workspace.exec(&["run", "--data", "a.npy", FIXTURE]).run();
    let hint = format!("hint: if {FIXTURE} is the image, write it first: `ncaas-exec run {FIXTURE} --data FILE`");
    swallowed.ended_saying(2, &hint);
    workspace.exec(&["run", FIXTURE]).run().ended_saying(2, "neither a dataset nor a command");
}

#[test]
fn a_job_that_exits_with_0_after_its_limit_has_succeeded() {
    let workspace = Workspace::new();
    let script = "trap '' TERM; sleep 2; exit 0";
    let started = workspace.start(&["--timeout", "1s"], &["sh", "-c", script]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().record();
    assert_eq!(ended.container.unwrap().status.as_deref(), Some("success"));
}

#[test]
fn a_time_limit_holds_although_no_tool_waits() {
    let workspace = Workspace::new();
    let record = workspace.run(&["--timeout", "1s"], &["sleep", "300"]).record();
    let id = record.container.unwrap().id;
    wait_until("the end", Duration::from_secs(20), || {
        docker(&["inspect", "--format", "{{.State.Status}}", &id]) == "exited"
    });
}
