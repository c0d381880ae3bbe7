//! Inputs that cannot be mounted in place: private files, links, inputs in the io-dir, pipes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::workspace::{Workspace, container_output};
use ncaas_tests::{pipe_in, unique};
use serde_json::{Value, json};

/// The output of a job that reads its dataset.
fn read_in_job(workspace: &Workspace, data: &str, script: &str) -> String {
    let started = workspace.start(&["--data", data], &["sh", "-c", script]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded");
    container_output(&ended.record())
}

#[test]
fn a_dataset_that_the_containers_user_may_not_read_reaches_the_job() {
    let workspace = Workspace::new();
    workspace.write("x.npy", "private");
    fs::set_permissions(workspace.path().join("x.npy"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_in_job(&workspace, "x.npy", "cat \"$1\""), "private");
    let mode = workspace.path().join("x.npy").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the file itself stays private");
}

#[test]
fn a_dataset_that_this_user_may_not_read_stops_no_other_dataset_of_the_command() {
    let (workspace, socket) =
        (Workspace::new(), docker(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]));
    let group = fs::metadata(socket.strip_prefix("unix://").unwrap()).unwrap().gid();
    fs::set_permissions(workspace.path(), Permissions::from_mode(0o777)).unwrap();
    workspace.write("secret.npy", "secret");
    fs::set_permissions(workspace.path().join("secret.npy"), Permissions::from_mode(0o600)).unwrap();
    workspace.write("x.npy", "x");
    let id = unique("denied");
    let mut clean_up = CleanUp::new();
    (0..8).for_each(|n| clean_up.labelled(&format!("org.neurocaas.job={id}-{n}")));
    let command = format!(
        "cp \"$(command -v ncaas-exec)\" tool; for n in $(seq 0 7); do \
         HOME=$PWD setpriv --reuid=65534 --regid=65534 --groups={group} ./tool run {FIXTURE} --name {id}-$n \
         --data secret.npy x.npy -- true || true; done"
    );
    let records = pipe_in(workspace.path(), &command, &[]).json();
    for (name, kind) in [("secret.npy", json!("access-denied")), ("x.npy", Value::Null)] {
        let of_dataset = records.iter().filter(|record| record["dataname"].as_str().unwrap().ends_with(name));
        let kinds: Vec<Value> = of_dataset.map(|record| record["error"]["kind"].clone()).collect();
        assert_eq!(kinds, vec![kind; 8], "{name}: {records:#?}");
    }
}

#[test]
fn links_that_lead_out_of_a_dataset_reach_the_job_as_files() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.path().join("annex/objects")).unwrap();
    fs::create_dir(workspace.path().join("annex/sub")).unwrap();
    workspace.write("annex/objects/KEY", "content");
    symlink("../objects/KEY", workspace.path().join("annex/sub/T1.nii")).unwrap();
    let started = workspace.start(&["--data", "annex/sub"], &["sh", "-c", "cat \"$1\"/*"]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded");
    assert_eq!(container_output(&ended.record()), "content");
    assert_eq!(ended.json()[0]["inputs"][0]["size"], 7);
}

#[test]
fn a_dataset_in_the_io_dir_is_mounted_from_the_jobs_own_folder() {
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.path().join("io-dir/inputs")).unwrap();
    workspace.write("io-dir/inputs/x.npy", "in the io-dir");
    let started = workspace.start(&["--data", "io-dir/inputs/x.npy"], &["sh", "-c", "cat \"$1\""]);
    let ended = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded").record();
    assert_eq!(container_output(&ended), "in the io-dir");
    let work = workspace.path().join("io-dir/.ncaas/work").join(ended.job.unwrap().id);
    assert!(work.join("1/inputs").exists());
    // The engine mounts the inputs again whenever it reads a file of the container.
    let id = ended.container.unwrap().id;
    docker(&["cp", &format!("{id}:/etc/passwd"), workspace.path().join("copy").to_str().unwrap()]);
    workspace.exec(&["rm", "--force", &id]).run().ok();
    assert!(!work.exists(), "the work folder goes with the container");

    workspace.write("secret", "secret");
    symlink("../../secret", workspace.path().join("io-dir/inputs/out")).unwrap();
    let ran = workspace.run(&["--data", "io-dir/inputs/out"], &["cat"]);
    assert_eq!(ran.record().error_kind(), "unsafe-path", "{}", ran.stderr);
}

#[test]
fn a_pipe_as_dataset_is_refused_at_once() {
    let workspace = Workspace::new();
    let pipe = workspace.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ran = workspace.run(&["--data", "pipe"], &["cat"]);
    assert_eq!(ran.record().error_kind(), "unsafe-path", "{}", ran.stderr);
    assert!(ran.stderr.contains("is a pipe, not a file or folder"), "{}", ran.stderr);
}
