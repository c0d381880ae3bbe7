//! Jobs that an earlier run has started: from another working directory, with forged records, removed before collect.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{unique, wait_until};
use serde_json::json;

#[test]
fn a_job_taken_up_from_another_directory_keeps_its_io_dir() {
    let (first, second) = (Workspace::new(), Workspace::new());
    let job = json!({"id": unique("job__moved"), "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={}", job["id"].as_str().unwrap()));
    let started = first.exec(&["run"]).stdin(record.clone()).run().ok().json().remove(0);
    let again = second.exec(&["run"]).stdin(record).run();
    assert!(again.stderr.contains(": using the io-dir that the job was started with: `"), "{}", again.stderr);
    let again = again.json().remove(0);
    assert_eq!((&again["io_dir"], &again["container"]["id"]), (&started["io_dir"], &started["container"]["id"]));
}

#[test]
fn run_adopts_a_job_that_another_run_started() {
    let (first, second) = (Workspace::new(), Workspace::new());
    let id = unique("job__meanwhile");
    let job = json!({"id": id, "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={id}"));
    // The first run waits for the lock of the work folder until the second one has started the job elsewhere.
    let work = first.path().canonicalize().unwrap().join("io-dir/lab/.ncaas/work").join(&id).join("1");
    fs::create_dir_all(&work).unwrap();
    let lock = File::open(&work).unwrap();
    lock.lock().unwrap();
    let mut command = first.exec(&["run"]).into_command();
    let mut waiting = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    waiting.stdin.take().unwrap().write_all(record.as_bytes()).unwrap();
    let opened = format!("/proc/{}/fd", waiting.id());
    wait_until("the lock", Duration::from_secs(20), || {
        let files = fs::read_dir(&opened).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file == work)
    });
    let started = second.exec(&["run"]).stdin(record).run().ok().json().remove(0);
    drop(lock);
    let ended = waiting.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && message.contains(": using the io-dir that the job was started with: `"),
        "{message}"
    );
    let taken_up: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&taken_up["io_dir"], &taken_up["container"]["id"]), (&started["io_dir"], &started["container"]["id"]));
}

#[test]
fn two_runs_of_one_job_at_once_start_one_container() {
    let workspace = Workspace::new();
    let data = workspace.path().join("a.txt");
    fs::write(&data, "a").unwrap();
    for _ in 0..4 {
        let job = json!({"id": unique("job__twice"), "dataset": 1, "datasets": 1});
        let record =
            json!({"job": job, "dataname": data, "image": FIXTURE, "command": ["sh", "-c", "sleep 60"]}).to_string();
        let mut clean_up = CleanUp::new();
        clean_up.labelled(&format!("org.neurocaas.job={}", job["id"].as_str().unwrap()));
        let run = || workspace.exec(&["run"]).stdin(record.clone()).run().ok().json().remove(0);
        let [first, second] = std::thread::scope(|scope| {
            [scope.spawn(run), scope.spawn(run)].map(|run| run.join().unwrap()["container"]["id"].clone())
        });
        assert_eq!(first, second);
    }
}

#[test]
fn run_replaces_a_container_that_an_earlier_run_did_not_start() {
    let workspace = Workspace::new();
    let id = unique("job__created");
    let job = json!({"id": id, "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let label = format!("org.neurocaas.job={id}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    let run = || workspace.exec(&["run", "--memory", "64m"]).stdin(record.clone()).run().ok().json().remove(0);
    let name = run()["container"]["name"].as_str().unwrap().to_owned();
    docker(&["rm", "--force", &name]);
    let created = docker(&["create", "--name", &name, "--label", &label, "--memory", "32m", FIXTURE, "sleep", "60"]);
    let started = run();
    let container = started["container"]["id"].as_str().unwrap();
    assert_ne!(container, created);
    assert_eq!(docker(&["inspect", "--format", "{{.HostConfig.Memory}} {{len .Mounts}}", container]), "67108864 2");
}

#[test]
fn a_job_whose_io_dir_is_gone_is_an_error() {
    let (first, second) = (Workspace::new(), Workspace::new());
    let job = json!({"id": unique("job__gone"), "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={}", job["id"].as_str().unwrap()));
    first.exec(&["run"]).stdin(record.clone()).run().ok();
    fs::remove_dir_all(first.path().join("io-dir")).unwrap();
    let again = second.exec(&["run"]).stdin(record).run();
    assert_eq!(again.record().error_kind(), "file-not-found", "{}", again.stderr);
}

#[test]
fn a_record_that_names_the_container_of_another_job_reaches_nothing() {
    let workspace = Workspace::new();
    let victim = workspace.run(&[], &["sleep", "60"]).record().container.unwrap().id;
    let job = json!({"id": unique("job__forged"), "dataset": 1, "datasets": 1});
    let io_dir = workspace.path().join("io-dir");
    let container = json!({"id": victim, "name": "x", "state": "exited", "status": "success", "exit_code": 0});
    let forged = json!({"job": job, "image": FIXTURE, "command": ["true"], "io_dir": io_dir, "container": container});
    for verb in [&["stop"][..], &["rm", "--force"]] {
        workspace.exec(verb).stdin(forged.to_string()).run();
        assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &victim]), "running", "{verb:?}");
    }
    // The same record, found where a saved one lies.
    let logs = io_dir.join("results").join(job["id"].as_str().unwrap()).join("logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("submission.record.json"), forged.to_string()).unwrap();
    let asked = json!({"job": job, "image": FIXTURE, "command": ["true"]});
    let ran = workspace.exec(&["run"]).stdin(asked.to_string()).run();
    assert_eq!(ran.record().error_kind(), "wrong-container", "{}", ran.stderr);
}

#[test]
fn rm_keeps_a_container_whose_results_were_not_collected() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["sh", "-c", "mkdir -p /tmp/out; echo 1 > /tmp/out/res.csv"]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded");
    let id = ended.record().container.unwrap().id;
    let kept = workspace.exec(&["rm"]).stdin(ended.stdout.clone()).run();
    assert_eq!((kept.status, kept.record().error_kind()), (1, "results-missing"), "{}", kept.stderr);
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "exited");
    workspace.exec(&["rm", "--force"]).stdin(ended.stdout).run().ok();
    assert!(!ncaas_tests::engine::docker(&["ps", "-aq", "--no-trunc"]).contains(&id));
}

/// A service manager or a scheduler kills the guardian with the control group of the pipe.
#[test]
fn a_run_that_adopts_a_job_enforces_its_time_limit() {
    let workspace = Workspace::new();
    let id = unique("job__guarded");
    let record = json!({"job": {"id": id}, "image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let run = || workspace.exec(&["run", "--timeout", "5s"]).stdin(record.clone()).run().ok().json().remove(0);
    let container = run()["container"]["id"].as_str().unwrap().to_owned();
    let guardian = format!("ncaas-exec wait {container}");
    let signal = |words: &[&str]| Command::new("pkill").args(words).arg(&guardian).status().unwrap().success();
    wait_until("the guardian's end", Duration::from_secs(30), || signal(&["-KILL", "-f"]));
    let state = || docker(&["inspect", "--format", "{{.State.Status}}", &container]);
    let overran = Instant::now() + Duration::from_secs(6);
    wait_until("the time limit", Duration::from_secs(30), || Instant::now() > overran);
    assert_eq!(state(), "running");
    run();
    wait_until("the end of the job", Duration::from_secs(20), || state() == "exited");
}
