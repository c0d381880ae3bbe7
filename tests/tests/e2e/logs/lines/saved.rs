//! `ncaas-logs lines` on files that `ncaas-logs save` wrote.

use ncaas_tests::Run;
use ncaas_tests::engine::{docker, driver_of_bytes};
use ncaas_tests::started_submission::{HOSTILE_OUTPUT, StartedSubmission, container_id, save_logs};
use serde_json::Value;

#[test]
fn lines_and_state_read_saved_files_after_the_container_is_removed() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[driver_of_bytes()], HOSTILE_OUTPUT);
    let id = container_id(&record);
    docker(&["wait", &id]);
    let lines = |arguments: &[&str]| Run::tool("ncaas-logs").arg("lines").args(arguments).dir(submission.logs()).run();
    let without_seq = |mut line: Value| {
        line.as_object_mut().unwrap().shift_remove("seq");
        line
    };
    let by_record = || Run::tool("ncaas-logs").arg("lines").stdin(record.clone()).run();
    let printed: Vec<Value> = by_record().ok().json().into_iter().map(without_seq).collect();
    let saved = save_logs(&[], &record).ok().text();
    docker(&["rm", &id]);
    let stdout = |lines: &[Value]| lines.iter().filter(|line| line["stream"] == "stdout").cloned().collect::<Vec<_>>();
    for ran in [by_record(), lines(&["session 1.npy.log"]), lines(&["./session 1.npy.record.json"])] {
        let again: Vec<Value> = ran.ok().json().into_iter().map(without_seq).collect();
        assert!(stdout(&again) == stdout(&printed) && again.len() == printed.len(), "{again:?}");
    }
    let text = lines(&["--text", "--tail=3", "--stdout", "session 1.npy.log"]).ok().text();
    assert_eq!(text.lines().map(|line| line.trim_end().len()).collect::<Vec<_>>(), [23 + 11, 23, 23], "{text:?}");
    let state = Run::tool("ncaas-logs").args(["state", "session 1.npy.record.json"]).dir(submission.logs()).run();
    assert_eq!(state.ok().text(), saved);

    std::fs::remove_file(submission.logs().join("session 1.npy.record.json")).unwrap();
    let part = lines(&["session 1.npy.log"]);
    assert_eq!((part.status, part.json().len()), (0, printed.len()));
    assert!(part.stderr.contains("`ncaas-logs save` did not follow the job to its end"), "{}", part.stderr);
    lines(&["certificate.txt"]).ended_saying(1, "container `certificate.txt` does not exist");
    lines(&["./certificate.txt"]).ended_saying(1, "is not a log that `ncaas-logs save` wrote: line 1 has no time");
    lines(&["./missing.log"]).ended_saying(1, "cannot read `missing.log`");
}
