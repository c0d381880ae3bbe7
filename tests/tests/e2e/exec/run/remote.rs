//! `ncaas-exec run` on an engine that is reached by ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use ncaas_tests::engine::{FIXTURE, docker};
use ncaas_tests::ssh::{Loopback, with_remote_engine};
use ncaas_tests::workspace::Workspace;

#[test]
fn inputs_are_copied_to_a_remote_engine_and_no_local_path_is_mounted() {
    let (workspace, remote) = (Workspace::new(), Loopback::new());
    fs::create_dir_all(workspace.path().join("set/sub")).unwrap();
    fs::write(workspace.path().join("set/a"), "1\n").unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_606_753_161);
    fs::File::open(workspace.path().join("set/a")).unwrap().set_modified(time).unwrap();
    fs::write(workspace.path().join("set/sub/b $(c)"), "2\n").unwrap();
    fs::write(workspace.path().join("c.yaml"), "n: 3\n").unwrap();
    fs::set_permissions(workspace.path().join("set/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let script = r#"find "$1" -type f | sort | while read -r file; do cat "$file"; done; cat "$2"; stat -c %Y "$1/a"
                    echo r > io-dir/results/r && echo l > io-dir/logs/l"#;
    let exec = |arguments: &[&str]| with_remote_engine(workspace.exec(arguments), &remote);
    let started = exec(&["run", FIXTURE, "--data", "set", "--config", "c.yaml", "--", "bash", "-c", script]).run();
    let ended = exec(&["wait"]).stdin(started.stdout).run().ended_saying(0, " succeeded");
    let container = ended.record().container.unwrap();
    assert_eq!(docker(&["logs", &container.id]), "1\n2\nn: 3\n1606753161");
    let inspected = docker(&["inspect", &container.id]);
    assert!(inspected.contains(r#""Mounts": []"#), "{inspected}");
    docker(&["cp", &format!("{}:/home/neurocaasdev/io-dir/results/r", container.id), "-"]);
    exec(&["rm", "--force"]).stdin(ended.stdout).run().ok();
    assert!(workspace.path().join("io-dir/results").exists());
}
