//! `ncaas-exec run --replay`.

use std::fs;

use ncaas_tests::Run;
use ncaas_tests::workspace::{Workspace, container_output};

#[test]
fn replay_runs_a_saved_record_again_on_unchanged_inputs_only() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "one");
    let started = workspace.start(&["--data", &data, "--memory", "64m"], &["sh", "-c", "cat $1"]);
    let saved = workspace.exec(&["wait"]).stdin(started).run().ended_saying(0, " succeeded");
    fs::write(workspace.path().join("record.json"), &saved.stdout).unwrap();
    let again = workspace.exec(&["run", "--replay", "record.json"]).run().ok();
    let (before, now) = (saved.record(), again.record());
    assert_ne!(before.job.unwrap().id, now.job.as_ref().unwrap().id);
    assert_eq!((&before.image_id, &before.run, &before.inputs), (&now.image_id, &now.run, &now.inputs));
    let ended = workspace.exec(&["wait"]).stdin(again.stdout).run().ended_saying(0, " succeeded");
    assert_eq!(container_output(&ended.record()), "one");
    fs::write(workspace.path().join("x.npy"), "two").unwrap();
    let refused = workspace.exec(&["run", "--replay", "record.json"]).run();
    assert_eq!((refused.status, refused.record().error_kind()), (1, "checksum-mismatch"));
    let message = refused.record().error.unwrap().message;
    assert!(
        message.starts_with("inputs have changed since the saved run: `/") && message.ends_with("/x.npy`"),
        "{message}"
    );
}

#[test]
fn replay_uses_the_saved_copy_of_a_changed_config_or_another_config() {
    let workspace = Workspace::new();
    let (data, config) = (workspace.write("x.npy", "one"), workspace.write("c.yaml", "n: 1\n"));
    let started = workspace.start(&["--data", &data, "--config", &config], &["sh", "-c", "cat $2"]);
    let saved = workspace.exec(&["wait"]).stdin(started).run();
    let collected = Run::tool("ncaas-sync").arg("collect").dir(workspace.path()).stdin(saved.stdout).run();
    fs::write(workspace.path().join("record.json"), &collected.stdout).unwrap();
    workspace.write("c.yaml", "n: 2\n");
    workspace.write("other.yaml", "n: 3\n");
    let job = collected.record().job.unwrap().id;
    let folder = format!("io-dir/results/{job}");
    // The job is named by the file of its record, its id, its dataset or its folder.
    let cases = [
        ("record.json", &[][..], "n: 1"),
        (job.as_str(), &["--config", "other.yaml"], "n: 3"),
        ("x.npy", &[], "n: 1"),
        (folder.as_str(), &[], "n: 1"),
    ];
    for (argument, flags, expected) in cases {
        let again = workspace.exec(&["run", "--replay", argument]).args(flags).run();
        assert_eq!(again.status, 0, "{}", again.stderr);
        assert_eq!(again.stderr.contains("has changed since the saved run: using its copy"), flags.is_empty());
        assert_eq!(again.record().replay_of, Some(collected.record().job.unwrap().id));
        let ended = workspace.exec(&["wait"]).stdin(again.stdout).run();
        assert_eq!(container_output(&ended.record()), expected);
    }
}
