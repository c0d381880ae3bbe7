//! `ncaas-exec run --replay`.

use std::fs;

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
}
