//! `ncaas-exec wait` while the engine restarts.

use std::fs;

use ncaas_tests::Run;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::engine_workspace::{EngineWorkspace, FilterProcess};
use serde_json::{Value, json};

#[test]
fn jobs_that_end_with_their_engine_are_reported_as_stopped_by_the_engine() {
    let mut workspace = EngineWorkspace::new(&[]);
    let script = "trap 'exit 143' TERM; sleep 600 & wait";
    let jobs: Vec<Value> = (0..3).map(|_| workspace.start(&[], script)).collect();
    let waiting = workspace.wait(&jobs);
    workspace.engine.restart(|_| ());
    let ended = waiting.containers();
    assert_eq!(ended.len(), 3);
    for container in ended {
        assert_eq!((&container["state"], &container["exit_code"]), (&json!("exited"), &json!(143)), "{container}");
        assert_eq!((&container["status"], &container["stopped_by"]), (&json!("killed"), &json!("engine")));
    }
    let job = workspace.start(&[], "sleep 600");
    let waiting = workspace.wait(&[job]);
    workspace.engine.crash();
    let ended = waiting.containers();
    assert_eq!((&ended[0]["state"], &ended[0]["stopped_by"]), (&json!("exited"), &json!("engine")), "{}", ended[0]);
    assert_ne!(ended[0]["status"], "success");
}

/// dockerd that is killed after a container's exit and before it has noted it: it finds a container that ran, and no
/// process.
#[test]
fn a_job_whose_exit_the_engine_has_lost_is_not_a_success() {
    let mut workspace = EngineWorkspace::new(&[]);
    let [lost, known] = ["exit 7", "true"].map(|script| {
        let job = workspace.start(&[], script);
        job["container"]["id"].as_str().unwrap().to_owned()
    });
    workspace.engine.docker(&["wait", &lost, &known]);
    workspace.engine.restart(|containers| {
        let path = containers.join(&lost).join("config.v2.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["State"]["Running"] = true.into();
        config["State"]["FinishedAt"] = "0001-01-01T00:00:00Z".into();
        fs::write(path, config.to_string()).unwrap();
    });
    let inspect = ["inspect", "--format", "{{.State.ExitCode}}", &lost];
    assert_eq!(workspace.engine.docker(&inspect), "0", "the engine makes it up");
    let ended = workspace.wait(&[&lost, &known].map(|id| json!({"container": {"id": id}}))).containers();
    let end = |id: &str| {
        let container = ended.iter().find(|container| container["id"] == id).unwrap();
        (container["status"].clone(), container["exit_code"].clone(), container["stopped_by"].clone())
    };
    assert_eq!(end(&lost), (json!("failed"), json!(255), json!("engine")));
    assert_eq!(end(&known), (json!("success"), json!(0), Value::Null));
}

#[test]
fn jobs_that_outlive_their_engine_report_their_own_exit_code() {
    let mut workspace = EngineWorkspace::new(&["--live-restore"]);
    let go_on = r#"while [ ! -e "$HOME/io-dir/results/end" ]; do sleep 0.1; done; exit 3"#;
    let job = workspace.start(&[], go_on);
    let waiting = workspace.wait(std::slice::from_ref(&job));
    workspace.engine.restart(|_| ());
    workspace.engine.crash();
    let results = workspace.dir.path().join("io-dir/.ncaas/work").join(job["job"]["id"].as_str().unwrap());
    fs::write(results.join("1/results/end"), "").unwrap();
    let ended = waiting.containers().remove(0);
    assert_eq!((&ended["exit_code"], &ended["status"]), (&json!(3), &json!("failed")), "{ended}");
    assert_eq!((&ended["stopped_by"], &ended["oom"]), (&Value::Null, &json!(false)), "{ended}");
}

#[test]
fn filters_wait_for_a_restarting_engine_and_interactive_commands_do_not() {
    let mut workspace = EngineWorkspace::new(&[]);
    let exec = |arguments: &[&str]| workspace.exec(arguments).into_command();
    // A shell that handles TERM ends with the engine at once; `sleep` as the first process would not.
    let script = "trap exit TERM; sleep 600 & wait";
    let running = workspace.start(&[], script);
    let [gone, ended] = ["1", "2"].map(|_| {
        let id = workspace.engine.docker(&["run", "--detach", FIXTURE, "true"]);
        workspace.engine.docker(&["wait", &id]);
        json!({"container": {"id": id, "state": "exited", "status": "success"}})
    });
    // These have reached the engine before.
    let new = json!({"image": FIXTURE, "command": ["sh", "-c", script]});
    let mut seen = vec![(FilterProcess::new(exec(&["run"])), new.clone()), (FilterProcess::new(exec(&["rm"])), ended)];
    for ((filter, _), first) in seen.iter_mut().zip([new, gone]) {
        filter.write(&first);
        assert_eq!(filter.read()["error"], Value::Null);
    }
    // These have not, but their records say that it was there.
    let mut save = Run::tool("ncaas-logs").arg("save").env("DOCKER_HOST", workspace.engine.host()).into_command();
    save.current_dir(workspace.dir.path());
    let late = [exec(&["wait"]), exec(&["stop"]), save];
    let by_hand = [
        workspace.exec(&["wait", "job"]),
        workspace.exec(&["run", FIXTURE, "--", "true"]),
        workspace.exec(&["stop", "job"]),
    ];
    workspace.engine.restart(|_| {
        for ran in by_hand.map(Run::run) {
            let words = &ran.stderr;
            assert!([3, 125].contains(&ran.status) && !words.contains("waiting"), "{}: {words}", ran.status);
            assert_eq!(ran.json()[0]["error"]["kind"], "engine-unreachable");
        }
        seen.extend(late.map(|command| (FilterProcess::new(command), running.clone())));
        for (filter, record) in &mut seen {
            filter.write(record);
            let words = filter.next_message();
            assert!(words.ends_with("waiting up to 60 s for it\n"), "{words}");
        }
    });
    for (mut filter, _) in seen {
        let record = filter.read();
        assert_eq!(record["error"], Value::Null, "{record}");
    }
}
