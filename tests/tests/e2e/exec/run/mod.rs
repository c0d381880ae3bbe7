//! `ncaas-exec run`: inputs, results, names, users and secrets of a job, and repeated runs.

mod command_line;
mod dry_run;
mod inputs;
mod interrupted;
mod job_limits;
mod limits;
mod preflight;
mod remote;
mod replay;
mod restart;

use std::fs;
use std::path::Path;

use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled, docker, is_podman, is_remote};
use ncaas_tests::workspace::{Workspace, container_output};
use serde_json::{Value, json};

#[test]
fn a_hand_written_record_runs_and_keeps_unknown_fields() {
    let workspace = Workspace::new();
    let line = json!({"image": FIXTURE, "command": ["ls"], "mine": {"b": 1, "a": 2}}).to_string();
    let started = workspace.exec(&["run"]).stdin(line.replace("1", "1.50")).run().ok();
    assert!(started.text().starts_with(r#"{"image":"#) && started.text().contains(r#""mine":{"b":1.50,"a":2}"#));
    let ended = workspace.exec(&["wait"]).stdin(started.stdout).run().ended_saying(0, " succeeded");
    let removed = workspace.exec(&["rm", "--force"]).stdin(ended.stdout).run().ok();
    let value = &removed.json()[0];
    assert_eq!(value["container"]["status"], "success");
    assert_eq!(value["error"], Value::Null);
    let id = value["job"]["id"].as_str().unwrap();
    assert!(containers_labelled(&format!("org.neurocaas.job={id}")).is_empty());
}

#[test]
fn names_with_shell_syntax_reach_the_script_unchanged() {
    let workspace = Workspace::new();
    let data = workspace.write("a b'\"$(touch owned);`id`&|*é:.npy", "the data");
    let config = workspace.write("-c 'x',ro=false;rm.yaml", "n: 3\n");
    let flags = ["--data", &data, &format!("--config=./{config}"), "-e", "EVIL=$(id); '\""];
    let script = r#"printf '%s\n' "$1" "$data" "$2" "$config" "$EVIL"; cat "$1" "$2""#;
    let started = workspace.start(&flags, &["sh", "-c", script]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded");
    let io_dir = "/home/neurocaasdev/io-dir";
    let (data, config) = (format!("{io_dir}/inputs/{data}"), format!("{io_dir}/configs/{config}"));
    let expected = format!("{data}\n{data}\n{config}\n{config}\n$(id); '\"\nthe datan: 3");
    assert_eq!(container_output(&ended.record()), expected);
    assert!(!workspace.path().join("owned").exists());
}

/// Podman writes what is to be mounted into a line in which a comma begins another option.
#[test]
fn podman_refuses_an_io_dir_whose_name_contains_mount_options() {
    let (workspace, mut clean_up) = (Workspace::new(), CleanUp::new());
    let ran = workspace.exec(&["run", FIXTURE, "--io-dir", "a,ro=true", "--", "true"]).run();
    let record = ran.record();
    clean_up.labelled(&format!("org.neurocaas.job={}", record.job.as_ref().unwrap().id));
    let refused = is_podman() && !is_remote();
    assert_eq!(record.error_kind(), if refused { "unsafe-path" } else { "" }, "{}", ran.stderr);
}

#[test]
fn a_job_of_any_user_reads_its_inputs_and_writes_its_results() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "1");
    for user in ["0:0", "12345:12345"] {
        let script = r#"echo a > io-dir/results/a; mkdir -m 700 io-dir/results/d; echo b > io-dir/results/d/b
                        echo 2 > "$1" || exit 9"#;
        let record = workspace.run_to_end(&["--data", &data, "--user", user], &["bash", "-c", script]);
        // Elsewhere it is a copy, which root may do with as it likes.
        let exit_code = if is_remote() && user == "0:0" { 0 } else { 9 };
        assert_eq!(record.container.unwrap().exit_code, Some(exit_code), "the dataset could be written to");
        let results = workspace.path().join("io-dir/.ncaas/work").join(record.job.unwrap().id).join("1/results");
        let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
        let me = owner(workspace.path());
        // Elsewhere they stay in the container until they are collected.
        for path in ["a", "d", "d/b"].into_iter().filter(|_| !is_remote()) {
            assert_eq!(owner(&results.join(path)), me, "{path} as {user}");
        }
        assert_eq!(fs::read_to_string(workspace.path().join("x.npy")).unwrap(), "1");
    }
}

#[test]
fn run_does_not_start_a_started_job_again() {
    let workspace = Workspace::new();
    let job = json!({"job": {"id": ncaas_tests::unique("job__again"), "dataset": 1, "datasets": 1}, "image": FIXTURE, "command": ["sleep", "60"]});
    let first = workspace.exec(&["run"]).stdin(job.to_string()).run().ok().record().container.unwrap();
    let second = workspace.exec(&["run"]).stdin(job.to_string()).run().ok().record().container.unwrap();
    assert_eq!((&first.id, &first.started_at), (&second.id, &second.started_at));
    docker(&["kill", &first.id]);
    let third = workspace.exec(&["run"]).stdin(job.to_string()).run().record().container.unwrap();
    assert_eq!((third.id, third.status.as_deref()), (first.id, Some("killed")));
}

#[test]
fn run_starts_a_container_that_was_created_and_never_started() {
    let workspace = Workspace::new();
    let id = ncaas_tests::unique("job__cut");
    let job = json!({"job": {"id": id, "dataset": 1, "datasets": 1}, "image": FIXTURE, "command": ["sleep", "60"]})
        .to_string();
    let plan = workspace.exec(&["run", "--dry-run"]).stdin(job.clone()).run().ok().json().remove(0);
    let name = plan["dry_run"]["name"].as_str().unwrap();
    docker(&["create", "--name", name, "--label", &format!("org.neurocaas.job={id}"), FIXTURE, "true"]);
    fs::create_dir_all(workspace.path().join("io-dir/results").join(&id)).unwrap();
    let record = workspace.exec(&["run"]).stdin(job).run().ok().record();
    assert!(record.container.unwrap().started_at.is_some());
}

#[test]
fn a_secret_reaches_the_job_and_is_stored_nowhere() {
    let workspace = Workspace::new();
    let secret = "hunter2-very-secret";
    let flags = ["run", FIXTURE, "--secret-env", "TOKEN", "--", "sh", "-c", r#"[ "$TOKEN" = hunter2-very-secret ]"#];
    // The command names it here only so that the job can check it.
    let ran = workspace.exec(&flags).env("TOKEN", secret).run().ok();
    let container = ran.record().container.unwrap();
    assert_eq!(ran.text().matches(secret).count(), 1, "{}", ran.text());
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &container.id]);
    assert_eq!(labels.matches(secret).count(), 1, "{labels}");
    let ended = workspace.exec(&["wait"]).stdin(ran.stdout).run().ended_saying(0, " succeeded");
    assert_eq!(ended.record().container.unwrap().exit_code, Some(0));
    let dry = workspace.exec(&["run", FIXTURE, "--dry-run", "--secret-env", "TOKEN"]).env("TOKEN", secret).run().ok();
    assert!(!dry.text().contains(secret) && (is_remote() || dry.text().contains("--env TOKEN")));
    let without = workspace.exec(&["run", FIXTURE, "--secret-env", "NCAAS_NOT_SET", "--", "true"]).run();
    assert_eq!(without.record().error_kind(), "usage");
}

#[test]
fn an_unreachable_engine_loses_no_record() {
    let workspace = Workspace::new();
    let lines = format!("{}\n", json!({"image": FIXTURE, "n": 1})).repeat(3);
    let ran = workspace.exec(&["run"]).env("DOCKER_HOST", "unix:///no/such/socket").stdin(lines).run();
    let kinds: Vec<String> = ran.json().iter().map(|record| record["error"]["kind"].to_string()).collect();
    assert_eq!((ran.status, kinds), (3, vec!["\"engine-unreachable\"".to_owned(); 3]));
}

#[test]
fn a_terminal_gets_a_summary_of_each_job_and_json_on_request() {
    let workspace = Workspace::new();
    let on_terminal = |arguments: &str| {
        let command = format!("stty cols 80; ncaas-exec {arguments}");
        let script = format!("script --quiet --return --command '{command}' /dev/null");
        ncaas_tests::pipe(&format!("cd {} && {script}", workspace.path().display())).text()
    };
    let run = format!("ncaas-exec run {FIXTURE} --name shown -- sleep 60");
    let started = ncaas_tests::terminal::Terminal::start(workspace.path(), 80, &run).screen().join("\n");
    let lines: Vec<&str> = started.lines().map(str::trim_end).collect();
    assert!(lines[0] == "shown: running" && lines[1].starts_with("  shown-1-"), "{started}");
    assert!(lines[..2].iter().all(|line| line.chars().count() <= 80), "{started}");
    assert!(lines[2].contains("1 job is running in the background"), "{started}");
    assert_eq!(lines.len(), 4, "the last message needs two lines: {started}");
    let stopped = on_terminal("stop --grace 1 shown");
    assert!(stopped.starts_with("shown: killed"), "{stopped}");
    let waited = on_terminal("wait shown --json");
    let json = waited.lines().find(|line| line.starts_with('{')).unwrap();
    let record: Value = serde_json::from_str(json).unwrap();
    assert_eq!(record["container"]["status"], "killed");
    let unknown = on_terminal("wait no-such-container");
    assert_eq!(unknown.matches("no-such-container").count(), 1, "{unknown}");
    assert!(unknown.contains("container `no-such-container` does not exist") && !unknown.contains('{'), "{unknown}");
    workspace.exec(&["rm", "--force", "shown"]).run();
}

#[test]
fn a_failure_at_once_is_reported_by_run_when_its_output_goes_to_a_file() {
    let workspace = Workspace::new();
    let record = workspace.path().join("record.json");
    let run = format!("ncaas-exec run {FIXTURE} --name failed -- sh -c 'echo broken >&2; exit 3' >record.json");
    // A job that outlives the start is reported by a later stage.
    let wait = "ncaas-exec wait <record.json";
    let ran = ncaas_tests::pipe(&format!("cd {}; {run}; {wait}", workspace.path().display()));
    assert_eq!(ran.stderr.matches("failed (exit 3)").count(), 1, "{}", ran.stderr);
    assert!(record.exists());
    workspace.exec(&["rm", "--force", "failed"]).run();
}
