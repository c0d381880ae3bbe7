//! `ncaas-exec run`: how many jobs run at once, by number, memory and GPUs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ncaas_tests::engine::{FIXTURE, docker, is_remote};
use ncaas_tests::engine_workspace::EngineWorkspace;
use ncaas_tests::workspace::Workspace;
use serde_json::json;

#[test]
fn no_more_jobs_run_at_once_than_the_jobs_flag_allows() {
    let workspace = Workspace::new();
    // By ssh a start takes longer than that.
    let sleep = if is_remote() { "2" } else { "0.3" };
    let line = json!({"image": FIXTURE, "command": ["sleep", sleep]}).to_string() + "\n";
    let lines = line.repeat(6);
    let started = workspace.exec(&["run", "-j", "2"]).stdin(lines).run().ok();
    let ended = workspace.exec(&["wait"]).stdin(started.stdout).run().ended_saying(0, " succeeded").records();
    assert_eq!(ended.len(), 6);
    let mut moments: Vec<(String, i32)> = Vec::new();
    for container in ended.into_iter().map(|record| record.container.unwrap()) {
        moments.push((container.started_at.unwrap(), 1));
        moments.push((container.finished_at.unwrap(), -1));
    }
    moments.sort();
    let most = moments.iter().scan(0, |now, (_, change)| Some(std::mem::replace(now, *now + change) + change)).max();
    assert_eq!(most, Some(2));
}

#[test]
fn jobs_start_in_the_order_of_their_records() {
    let workspace = Workspace::new();
    let files: Vec<String> = (0..8).map(|number| workspace.write(&format!("{number}.npy"), "")).collect();
    // A large dataset takes longer to prepare than those after it.
    fs::write(workspace.path().join("0.npy"), vec![0; 20 << 20]).unwrap();
    fs::set_permissions(workspace.path().join("0.npy"), fs::Permissions::from_mode(0o600)).unwrap();
    let flags: Vec<&str> = ["-j", "1", "--data"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let started = workspace.run(&flags, &["true"]);
    let mut records = started.records();
    assert_eq!(records.len(), 8, "{}", started.stderr);
    records.sort_by_key(|record| record.container.as_ref().unwrap().started_at.clone());
    let datasets: Vec<u64> = records.iter().map(|record| record.job.as_ref().unwrap().dataset).collect();
    assert_eq!(datasets, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn jobs_with_a_memory_limit_wait_for_free_memory() {
    let workspace = Workspace::new();
    let total: u64 = docker(&["info", "--format", "{{.MemTotal}}"]).parse().unwrap();
    let most = (total / 10 * 7).to_string();
    let line = json!({"image": FIXTURE, "command": ["sleep", "0.5"]}).to_string() + "\n";
    let flags = ["run", "-j", "8", "--memory", &most];
    let started = workspace.exec(&flags).stdin(line.repeat(2)).run().ok();
    let ended = workspace.exec(&["wait"]).stdin(started.stdout).run().ended_saying(0, " succeeded").records();
    let times = |at: usize| ended[at].container.clone().map(|one| (one.started_at.unwrap(), one.finished_at.unwrap()));
    let (one, other) = (times(0).unwrap(), times(1).unwrap());
    assert!(one.1 < other.0 || other.1 < one.0, "both ran at once: {one:?} {other:?}");
}

#[test]
fn each_job_has_its_own_gpu() {
    // The engine takes this hook, by its name, for the sign that it can hand out GPUs.
    let mut workspace = EngineWorkspace::new(&["--add-runtime", "nvidia=runc"]);
    let hook = workspace.engine.programs().join("nvidia-container-runtime-hook");
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    workspace.engine.restart(|_| ());
    // There is one GPU: who would like it too waits, and who does not want one does not.
    let first = workspace.start(&["--gpus", "require"], "echo $NVIDIA_VISIBLE_DEVICES; sleep 2");
    let without = workspace.start(&[], "true");
    let second = workspace.start(&["--gpus", "auto"], "echo $NVIDIA_VISIBLE_DEVICES");
    let ids: Vec<String> =
        [&first, &without, &second].map(|job| job["container"]["id"].as_str().unwrap().to_owned()).into();
    let mut ended = workspace.wait(&[first, without, second]).containers();
    ended.sort_by_key(|container| ids.iter().position(|id| container["id"] == id.as_str()));
    let times: Vec<[&str; 2]> =
        ended.iter().map(|one| ["started_at", "finished_at"].map(|at| one[at].as_str().unwrap())).collect();
    assert!(times[1][1] < times[0][1], "a job without a GPU has waited for one: {times:?}");
    assert!(times[0][1] < times[2][0], "two jobs had the same GPU at once: {times:?}");
    for id in [&ids[0], &ids[2]] {
        assert_eq!(workspace.engine.docker(&["logs", id]), "0");
    }
}
