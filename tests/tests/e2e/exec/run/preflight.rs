//! `ncaas-exec run`: a job that cannot start is reported before it starts, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use ncaas_tests::Run;
use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled, docker, is_podman};
use ncaas_tests::workspace::Workspace;
use serde_json::{Value, json};

#[test]
fn a_config_without_a_dataset_or_command_is_refused() {
    let workspace = Workspace::new();
    let config = workspace.write("c.yaml", "n: 1\n");
    let refused = workspace.exec(&["run", FIXTURE, "--config", &config]).run();
    refused.ended_saying(2, "the config `c.yaml` is given, but no dataset");
}

#[test]
fn verbose_says_what_is_started_and_what_a_job_waits_for() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "1");
    let line = serde_json::json!({"image": FIXTURE, "command": ["sleep", "1"]}).to_string() + "\n";
    let flags = ["run", "-v", "-j", "1", "--data", &data, "--timeout", "50s", "--memory", "64m"];
    let ran = workspace.exec(&flags).stdin(line.repeat(2)).run();
    for expected in [
        " runs: sleep 1 /home/neurocaasdev/io-dir/inputs/x.npy",
        "/x.npy` is mounted at `/home/neurocaasdev/io-dir/inputs/x.npy` (read-only)",
        ": time 50.0 s, memory 64m, CPUs none, processes 2048, log 10g",
        " waits for a slot: at most 1 job at once (`-j`)",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
}

#[test]
fn a_job_that_cannot_start_reports_why_and_leaves_no_container() {
    let workspace = Workspace::new();
    let cases: [(&[&str], &str); 5] = [
        (&["nothere"], "script-not-found"),
        (&["/home"], "script-not-found"),
        (&["/etc/passwd"], "script-not-executable"),
        (&["./io-dir"], "script-not-found"),
        (&["/no/such/script.sh"], "script-not-found"),
    ];
    for (command, kind) in cases {
        let ran = workspace.run(&[], command);
        let record = ran.record();
        assert_eq!((ran.status, record.error_kind()), (1, kind), "{command:?}: {}", ran.stderr);
        assert!(record.container.is_none());
        let label = format!("org.neurocaas.job={}", record.job.unwrap().id);
        assert!(containers_labelled(&label).is_empty(), "{command:?}");
    }
    let kind_of = |flags: &[&str]| workspace.run(flags, &["ls"]).record().error_kind().to_owned();
    assert_eq!(kind_of(&["--data", "nowhere.npy"]), "file-not-found");
    assert_eq!(kind_of(&["--config", "nowhere.yaml"]), "file-not-found");
    assert_eq!(kind_of(&["--gpus", "require"]), "gpu-unavailable");
    assert_eq!(kind_of(&["--gpus", "require", "--dry-run"]), "gpu-unavailable");
    let dev = workspace.exec(&["start", FIXTURE, "--gpus", "require"]).run();
    assert_eq!((dev.status, dev.record().error_kind()), (1, "gpu-unavailable"));
    assert_eq!(kind_of(&["--platform", "linux/s390x"]), "wrong-platform");
    let network = workspace.run(&["--network", "no-such-network"], &["ls"]);
    let cannot = if is_podman() { "cannot create `job__" } else { "cannot start `job__" };
    assert!(network.stderr.contains(cannot) && network.stderr.contains("no-such-network"), "{}", network.stderr);
    let bad = workspace.write("bad.yaml", "a: [");
    assert_eq!(kind_of(&["--config", &bad]), "bad-config");
    let large = workspace.write("large.yaml", "__dataset_size__: 1000000");
    assert_eq!(kind_of(&["--config", &large]), "disk-full");
    assert_eq!(
        workspace.exec(&["run", "no.such/image:1", "--", "true"]).run().record().error_kind(),
        "image-not-found"
    );
    assert_eq!(workspace.job_folders(), Vec::<String>::new());
}

#[test]
fn a_failed_start_removes_only_the_empty_folders_that_it_created() {
    let workspace = Workspace::new();
    let id = ncaas_tests::unique("job__folders");
    let folder = workspace.path().join("io-dir/results").join(&id);
    let work = workspace.path().join("io-dir/.ncaas/work").join(&id);
    let job = json!({"job": {"id": id, "dataset": 1, "datasets": 2}, "image": FIXTURE, "command": ["nothere"]});
    let fails = || {
        let ran = workspace.exec(&["run"]).stdin(job.to_string()).run();
        assert_eq!(ran.record().error_kind(), "script-not-found", "{}", ran.stderr);
    };
    fails();
    assert!(!folder.exists() && !workspace.path().join("io-dir/.ncaas").exists());
    fs::create_dir_all(work.join("1/results")).unwrap();
    fails();
    assert!(work.join("1/results").exists() && !work.join("1/logs").exists());
    fs::remove_dir_all(work.join("1")).unwrap();
    fs::write(work.join("note"), "of somebody").unwrap();
    fails();
    assert!(work.join("note").exists() && !work.join("1").exists());
}

#[test]
fn an_image_that_is_removed_between_two_records_fails_the_second_record() {
    let (workspace, mut clean_up) = (Workspace::new(), CleanUp::new());
    let tag = format!("ncaas-test/{}:1", ncaas_tests::unique("removed"));
    clean_up.image(&tag);
    docker(&["tag", FIXTURE, &tag]);
    let line = json!({"image": tag, "command": ["sh", "-c", "exit 3"]}).to_string() + "\n";
    let mut command = workspace.exec(&["run"]).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    input.write_all(line.as_bytes()).unwrap();
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    docker(&["rmi", &tag]);
    input.write_all(line.as_bytes()).unwrap();
    drop(input);
    let mut second = String::new();
    output.read_line(&mut second).unwrap();
    let ended = child.wait_with_output().unwrap();
    let error = serde_json::from_str::<Value>(&second).unwrap()["error"].take();
    let hint = format!("pull it with `ncaas-build pull {tag}`, or build it with `ncaas-build image`");
    assert_eq!((&error["kind"], &error["hint"]), (&json!("image-not-found"), &json!(hint)), "{second}");
    let said = format!("ncaas-exec: image `{tag}` does not exist on this engine\nhint: {hint}\n");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(1), said.as_str()));
    let container = workspace.exec(&["wait"]).stdin(first).run().record().container.unwrap();
    assert_eq!((container.status.as_deref(), container.exit_code), (Some("failed"), Some(3)));
}

#[test]
fn a_missing_interpreter_is_distinguished_from_a_missing_interpreter_line() {
    let workspace = Workspace::new();
    let mut clean_up = CleanUp::new();
    let cases = [
        ("#!/no/such/python\nprint(1)\n", "it needs the interpreter `/no/such/python`, which is not in the image"),
        ("#!/bin/sh\r\necho\r\n", "it has Windows line endings (CR LF)"),
        ("echo hello\n", "it has no `#!` line"),
        ("#!/usr/bin/env bash -e\necho\n", "it gives `bash -e` to `/usr/bin/env` as one argument"),
        ("#!/bin/bash -e -u\necho\n", "it gives `-e -u` to `/bin/bash` as one argument"),
        ("#!/usr/bin/env python9\n", "it needs the interpreter `python9`, which is not in the image"),
    ];
    for (at, (script, words)) in cases.iter().enumerate() {
        let name = ncaas_tests::unique("interpreter");
        clean_up.container(&name);
        clean_up.image(&format!("ncaas-test/{name}:{at}"));
        let write = r#"printf %s "$0" > "$HOME/run.sh"; chmod +x "$HOME/run.sh""#;
        docker(&["run", "--name", &name, FIXTURE, "sh", "-c", write, script]);
        let tag = format!("ncaas-test/{name}:{at}");
        let made = Run::tool("ncaas-build").args(["commit", &name, "--tag", &tag]).run();
        assert_eq!(made.status, 0, "{}", made.stderr);
        let ran = workspace.exec(&["run", &format!("ncaas-test/{name}:{at}"), "--", "./run.sh"]).run();
        assert_eq!(ran.record().error_kind(), "bad-interpreter");
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[test]
fn gpus_auto_runs_without_a_gpu_and_warns() {
    let workspace = Workspace::new();
    let ran = workspace.run(&["--gpus", "auto"], &["true"]);
    let warning = "the engine has no GPU runtime: the container runs without a GPU";
    assert_eq!(ran.record().warnings.unwrap(), [warning]);
    ran.ended(0, &format!("ncaas-exec: {warning}\n"));
}

#[test]
fn a_name_that_another_container_uses_is_an_error() {
    let workspace = Workspace::new();
    let mut clean_up = CleanUp::new();
    let id = ncaas_tests::unique("job__taken");
    let job =
        json!({"job": {"id": id, "dataset": 1, "datasets": 1}, "image": FIXTURE, "command": ["true"]}).to_string();
    let plan = workspace.exec(&["run", "--dry-run"]).stdin(job.clone()).run().ok().json().remove(0);
    let name = plan["dry_run"]["name"].as_str().unwrap();
    clean_up.container(name);
    docker(&["create", "--name", name, FIXTURE, "true"]);
    let ran = workspace.exec(&["run"]).stdin(job).run();
    assert_eq!((ran.status, ran.record().error_kind()), (1, "name-in-use"));
}
