//! `ncaas-exec run` when it is interrupted.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::engine::FIXTURE;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, wait_until};
use serde_json::{Value, json};

#[test]
fn an_interrupted_run_leaves_its_job_running_and_ls_lists_it() {
    let workspace = Workspace::new();
    // The second job waits for the first.
    let line = json!({"image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let mut command = workspace.exec(&["run", "-j", "1"]).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{line}\n{line}\n").as_bytes()).unwrap();
    let io_dir = workspace.path().join("io-dir").to_string_lossy().into_owned();
    let of_this_test = || -> Vec<Value> {
        let listed = Run::tool("ncaas-exec").args(["ls"]).run().ok().json();
        listed.into_iter().filter(|record| record["io_dir"] == io_dir.as_str()).collect()
    };
    wait_until("the first job", Duration::from_secs(20), || !of_this_test().is_empty());
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let message = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        message.starts_with("ncaas-exec: interrupted: 1 job is running in the background; 1 was not started; "),
        "{message}"
    );
    let listed = of_this_test();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["container"]["state"], "running");
    assert_eq!(listed[0]["command"], json!(["sleep", "60"]));
    assert_eq!(workspace.job_folders(), [listed[0]["job"]["id"].as_str().unwrap()], "the second job was not started");
}
