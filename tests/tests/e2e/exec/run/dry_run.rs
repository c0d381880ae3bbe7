//! `ncaas-exec run --dry-run`.

use std::fs;
use std::path::Path;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_podman, is_remote};
use ncaas_tests::pipe_in;
use ncaas_tests::workspace::Workspace;
use serde_json::Value;

#[test]
fn a_dry_run_resolves_the_job_and_starts_nothing() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "1");
    let config = workspace.write("c.json", r#"{"__duration__": 2}"#);
    let flags = ["run", FIXTURE, "--dry-run", "--data", &data, "--config", &config, "--timeout", "90s"];
    let ran = workspace.exec(&flags).args(["--", "./run.sh"]).run().ok();
    let record = &ran.json()[0];
    assert!(record["image_id"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(record["run"]["timeout_s"], 90, "the shorter of the two counts");
    assert!(!workspace.path().join("io-dir").exists());
}

#[test]
fn the_docker_run_command_of_a_dry_run_runs_the_same_job() {
    let workspace = Workspace::new();
    let odd = workspace.write("a, b'\"$(touch owned);`id`é.npy", "data\n");
    let (data, io_dir) = match is_podman() {
        true => (workspace.write("a b'$(touch owned);`id`é.npy", "data\n"), "io 'dir"),
        false => (odd.clone(), "io, \"dir"),
    };
    let flags = ["run", FIXTURE, "--dry-run", "--io-dir", io_dir, "-e", "E=$(id);\n'", "--timeout", "50s"];
    if is_podman() && !is_remote() {
        // It cannot mount this one, so that the line would not do the same.
        let copied = workspace.exec(&flags).args(["--data", &odd, "--", "cat"]).run().ok().json().remove(0);
        assert_eq!(copied["dry_run"]["docker_run"], Value::Null);
        let unsafe_path = workspace.exec(&["run", FIXTURE, "--dry-run", "--io-dir", "io, \"dir", "--", "cat"]).run();
        assert_eq!(unsafe_path.record().error_kind(), "unsafe-path");
    }
    let script = r#"printf '%s|' "$1" "$data" "$E"; cat "$1"; echo r > io-dir/results/r"#;
    let limits = ["--data", &data, "--memory", "64m", "--user", "1234:1234", "--", "sh", "-c", script];
    let planned = workspace.exec(&flags).args(limits).run().ok().json().remove(0);
    if is_remote() {
        assert_eq!(planned["dry_run"]["docker_run"], Value::Null, "no line brings files to another machine");
        return;
    }
    let line = planned["dry_run"]["docker_run"].as_str().unwrap();
    let mut clean_up = CleanUp::new();
    let job = planned["job"]["id"].as_str().unwrap();
    clean_up.labelled(&format!("org.neurocaas.job={job}"));
    let typed = pipe_in(workspace.path(), line, &[]);
    assert_eq!(typed.status, 0, "{}", typed.stderr);
    let id = typed.text().trim_end().to_owned();
    // Its labels have the record that it was started from, as ours do.
    let ended = workspace.exec(&["wait", &id]).run().ended_saying(0, " succeeded").json().remove(0);
    assert_eq!(
        (&ended["job"], &ended["run"], &ended["command"]),
        (&planned["job"], &planned["run"], &planned["command"])
    );
    let path = format!("/home/neurocaasdev/io-dir/inputs/{data}");
    assert_eq!(docker(&["logs", &id]), format!("{path}|{path}|$(id);\n'|data"));
    assert!(!workspace.path().join("owned").exists());
    let results = workspace.path().join(io_dir).join(".ncaas/work").join(job).join("1/results/r");
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    assert_eq!(owner(&results), owner(workspace.path()));
}
