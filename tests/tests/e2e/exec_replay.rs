//! `ncaas-exec run --dry-run` and `--replay`: what a job comes to before it runs, and the same job once more.

use std::fs;
use std::path::Path;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_podman, is_remote};
use ncaas_tests::pipe_in;
use serde_json::Value;

use crate::exec_run::{Place, log};

#[test]
fn a_dry_run_resolves_everything_and_starts_nothing() {
    let place = Place::new();
    let data = place.write("x.npy", "1");
    let config = place.write("c.json", r#"{"__duration__": 2}"#);
    let flags = ["run", FIXTURE, "--dry-run", "--data", &data, "--config", &config, "--timeout", "90s"];
    let ran = place.exec(&flags).run().ok();
    let record = &ran.json()[0];
    assert!(record["image_id"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(record["run"]["timeout_s"], 90, "the shorter of the two counts");
    assert!(!place.path().join("io-dir").exists());
}

#[test]
fn the_docker_run_line_of_a_dry_run_does_the_same_when_it_is_typed() {
    let place = Place::new();
    let odd = place.write("a, b'\"$(touch owned);`id`é.npy", "data\n");
    let (data, io_dir) = match is_podman() {
        true => (place.write("a b'$(touch owned);`id`é.npy", "data\n"), "io 'dir"),
        false => (odd.clone(), "io, \"dir"),
    };
    let flags = ["run", FIXTURE, "--dry-run", "--io-dir", io_dir, "-e", "E=$(id);\n'", "--timeout", "50s"];
    if is_podman() && !is_remote() {
        // It cannot mount this one, so that the line would not do the same.
        let copied = place.exec(&flags).args(["--data", &odd]).run().ok().json().remove(0);
        assert_eq!(copied["dry_run"]["docker_run"], Value::Null);
        let unsafe_path = place.exec(&["run", FIXTURE, "--dry-run", "--io-dir", "io, \"dir"]).run();
        assert_eq!(unsafe_path.record().error_kind(), "unsafe-path");
    }
    let script = r#"printf '%s|' "$1" "$data" "$E"; cat "$1"; echo r > io-dir/results/r"#;
    let limits = ["--data", &data, "--memory", "64m", "--user", "1234:1234", "--", "sh", "-c", script];
    let planned = place.exec(&flags).args(limits).run().ok().json().remove(0);
    if is_remote() {
        assert_eq!(planned["dry_run"]["docker_run"], Value::Null, "no line brings files to another machine");
        return;
    }
    let line = planned["dry_run"]["docker_run"].as_str().unwrap();
    let mut clean_up = CleanUp::new();
    let job = planned["job"]["id"].as_str().unwrap();
    clean_up.labelled(&format!("org.neurocaas.job={job}"));
    let typed = pipe_in(place.path(), line, &[]);
    assert_eq!(typed.status, 0, "{}", typed.stderr);
    let id = typed.text().trim_end().to_owned();
    // What it was started from is in its labels, as it is with ours.
    let ended = place.exec(&["wait", &id]).run().ok().json().remove(0);
    assert_eq!(
        (&ended["job"], &ended["run"], &ended["command"]),
        (&planned["job"], &planned["run"], &planned["command"])
    );
    let path = format!("/home/neurocaasdev/io-dir/inputs/{data}");
    assert_eq!(docker(&["logs", &id]), format!("{path}|{path}|$(id);\n'|data"));
    assert!(!place.path().join("owned").exists());
    let results = place.path().join(io_dir).join("results").join(job).join("work/1/results/r");
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    assert_eq!(owner(&results), owner(place.path()));
}

#[test]
fn a_saved_record_runs_again_on_the_same_inputs_alone() {
    let place = Place::new();
    let data = place.write("x.npy", "one");
    let started = place.start(&["--data", &data, "--memory", "64m"], &["sh", "-c", "cat $1"]);
    let saved = place.exec(&["wait"]).stdin(started).run().ok();
    fs::write(place.path().join("record.json"), &saved.stdout).unwrap();
    let again = place.exec(&["run", "--replay", "record.json"]).run().ok();
    let (before, now) = (saved.record(), again.record());
    assert_ne!(before.job.unwrap().id, now.job.as_ref().unwrap().id);
    assert_eq!((&before.image_id, &before.run, &before.inputs), (&now.image_id, &now.run, &now.inputs));
    let ended = place.exec(&["wait"]).stdin(again.stdout).run().ok();
    assert_eq!(log(&ended.record()), "one");
    fs::write(place.path().join("x.npy"), "two").unwrap();
    let refused = place.exec(&["run", "--replay", "record.json"]).run();
    assert_eq!((refused.status, refused.record().error_kind()), (1, "checksum-mismatch"));
}
