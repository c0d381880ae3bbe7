//! `ncaas-exec ls`.

use std::collections::BTreeMap;
use std::process::Command;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, unique};
use serde_json::Value;

#[test]
fn ls_shows_disk_use_and_rm_older_than_keeps_young_containers() {
    let workspace = Workspace::new();
    let job = workspace.start(&[], &["sh", "-c", "head -c 3000000 /dev/zero > out"]);
    let ended = workspace.exec(&["wait"]).stdin(job).run().ended_saying(0, " succeeded");
    let id = ended.record().container.unwrap().id;
    let listed = workspace.exec(&["ls", "--all", "--size", "--json"]).run().ok().json();
    let ours = listed.iter().find(|record| record["container"]["id"] == id.as_str()).unwrap();
    let size = ours["container"]["size_bytes"].as_u64().unwrap();
    assert!((3_000_000..4_000_000).contains(&size), "{ours}");
    // Other tests' containers are as young as this one.
    assert_eq!(workspace.exec(&["rm", "--older-than", "300d", "-q"]).run().ok().text(), "");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "exited");
    workspace.exec(&["rm", "--force", &id]).run().ok();
}

#[test]
fn a_long_list_has_the_states_that_inspections_show() {
    let mut clean_up = CleanUp::new();
    let label = format!("org.neurocaas.tool={}", unique("ls"));
    clean_up.labelled(&label);
    let create = |options: &[&str], command: &[&str]| {
        docker(&[&["create", "--network=none", "--label", &label], options, &[FIXTURE], command].concat())
    };
    let limit = ["--label", "org.neurocaas.timeout=1"];
    let [failed, killed, overran, running] = [
        create(&[], &["sh", "-c", "exit 3"]),
        create(&[], &["sh", "-c", "exit 137"]),
        create(&limit, &["sh", "-c", "sleep 1.2; exit 1"]),
        create(&[], &["sleep", "60"]),
    ];
    let unstartable = create(&[], &["/no/such/program"]);
    for id in [&failed, &killed, &overran, &running] {
        docker(&["start", id]);
    }
    assert!(!Command::new("docker").args(["start", &unstartable]).output().unwrap().status.success());
    docker(&["wait", &failed, &killed, &overran]);
    for _ in 0..30 {
        create(&[], &["true"]);
    }
    let own: Vec<String> = docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("label={label}")])
        .lines()
        .map(str::to_owned)
        .collect();
    let list = |option: &[&str]| -> BTreeMap<String, Value> {
        let records = Run::tool("ncaas-exec").args(["ls", "--all"]).args(option).run().ok().json();
        let containers = records.into_iter().map(|mut record| record["container"].take());
        let mut containers: BTreeMap<String, Value> =
            containers.map(|container| (container["id"].as_str().unwrap().to_owned(), container)).collect();
        containers.retain(|id, _| own.contains(id));
        containers
            .values_mut()
            .for_each(|container| drop(container.as_object_mut().unwrap().shift_remove("size_bytes")));
        containers
    };
    let containers = list(&[]);
    assert_eq!(containers, list(&["--size"]), "sizes are known from inspections only");
    let status = |id: &String| containers[id]["status"].as_str().unwrap_or("none").to_owned();
    let statuses = [&failed, &killed, &overran, &running, &unstartable].map(status);
    assert_eq!((containers.len(), statuses.map(|s| s).join(" ").as_str()), (35, "failed killed timeout none failed"));
}
