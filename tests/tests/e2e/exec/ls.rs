//! `ncaas-exec ls`.

use ncaas_tests::engine::docker;
use ncaas_tests::workspace::Workspace;

#[test]
fn ls_shows_disk_use_and_rm_older_than_keeps_young_containers() {
    let workspace = Workspace::new();
    let job = workspace.start(&[], &["sh", "-c", "head -c 3000000 /dev/zero > out"]);
    let ended = workspace.exec(&["wait"]).stdin(job).run().ended_saying(0, " succeeded");
    let id = ended.record().container.unwrap().id;
    let listed = workspace.exec(&["ls", "--all", "--size", "--format", "json"]).run().ok().json();
    let ours = listed.iter().find(|record| record["container"]["id"] == id.as_str()).unwrap();
    let size = ours["container"]["size_bytes"].as_u64().unwrap();
    assert!((3_000_000..4_000_000).contains(&size), "{ours}");
    // Other tests' containers are as young as this one.
    assert_eq!(workspace.exec(&["rm", "--older-than", "300d"]).run().ok().text(), "");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "exited");
    workspace.exec(&["rm", "--force", &id]).run().ok();
}
