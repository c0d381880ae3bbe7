//! What `ncaas-logs save` tells people about the end of jobs.

use ncaas_tests::Run;
use ncaas_tests::started_submission::StartedSubmission;
use ncaas_tests::workspace::Workspace;
use serde_json::json;

#[test]
fn save_tells_how_a_job_ended_once_with_the_cause() {
    let mut submission = StartedSubmission::new(2);
    let script = r"echo step; printf 'Traceback:\n\033[31mValueError: x\033[0m\n' >&2; exit 3";
    let failing = submission.start(1, &[], script);
    let save =
        |arguments: &[&str], records: &str| Run::tool("ncaas-logs").arg("save").args(arguments).stdin(records).run();
    let ran = save(&[], &failing);
    let log = submission.logs().join("session 1.npy.log");
    let (start, end) =
        ("ncaas-logs: session 1.npy failed (exit 3) after ", format!(" s: ValueError: x; log: {}\n", log.display()));
    assert!(ran.stderr.starts_with(start) && ran.stderr.ends_with(&end), "{}", ran.stderr);
    let ended = format!("{}\n", ran.json()[0]);
    assert_eq!(save(&[], &ended).stderr, "", "an earlier stage has told it");
    let succeeding = submission.start(2, &[], "echo step");
    let ran = save(&[], &succeeding);
    assert!(ran.stderr.starts_with("ncaas-logs: session 2.npy succeeded in "), "{}", ran.stderr);
    assert_eq!((ran.status, ran.stderr.lines().count()), (0, 1));
    assert_eq!(ran.json()[0]["cause"], serde_json::Value::Null);
    let quiet = submission.start(2, &[], "echo bad >&2; exit 4");
    let ran = save(&["-q"], &quiet);
    assert!(ran.stderr.starts_with("ncaas-logs: session 2.npy failed (exit 4) after "), "{}", ran.stderr);
    assert_eq!((ran.stderr.lines().count(), ran.json()[0]["cause"].as_str()), (1, Some("bad")));
}

#[test]
fn each_end_is_reported_once_in_a_pipe_even_if_the_job_ended_before_its_record_arrived() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["true"]);
    let record = workspace.exec(&["wait", "-q"]).stdin(started).run().ok();
    assert_eq!(record.record().outcome_reported, None, "a quiet stage has reported nothing");
    let save = |records: Vec<u8>| Run::tool("ncaas-logs").arg("save").dir(workspace.path()).stdin(records).run();
    let saved = save(record.stdout.clone());
    assert_eq!((saved.status, saved.stderr.matches(" succeeded in ").count()), (0, 1), "{}", saved.stderr);
    let waited = workspace.exec(&["wait"]).stdin(saved.stdout).run().ok();
    assert_eq!(save(waited.stdout).stderr, "");
    // Another pipe reports it again.
    let waited = workspace.exec(&["wait"]).stdin(record.stdout).run().ended_saying(0, " succeeded in ");
    assert_eq!(save(waited.stdout).stderr, "");
}

#[test]
fn a_job_that_a_scheduler_has_placed_passes_through() {
    let submission = StartedSubmission::new(1);
    let mut record = submission.record(1);
    record["placement"] = json!({"on": "slurm", "id": "7", "state": "running"});
    let ran = Run::tool("ncaas-logs").arg("save").stdin(format!("{record}\n")).run().ok();
    assert_eq!(
        (&ran.json()[0]["placement"], &ran.json()[0]["error"]),
        (&record["placement"], &serde_json::Value::Null)
    );
    assert!(!submission.logs().exists());
}

#[test]
fn the_status_file_of_a_job_with_log_driver_none_says_why_it_has_no_output() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &["--log-driver=none"], "echo lost");
    Run::tool("ncaas-logs").args(["save", "-q"]).stdin(record).run().ok();
    let std = submission.status(1)["std"].clone();
    assert!(std["0"].as_str().unwrap().contains("its log driver is `none`, which keeps no output"), "{std}");
}

#[test]
fn a_submission_of_many_refused_datasets_has_a_whole_certificate() {
    let submission = StartedSubmission::new(500);
    let records: String = (1..=500)
        .map(|dataset| {
            let mut record = submission.record(dataset);
            record["error"] = json!({"tool": "ncaas-sync", "kind": "io", "message": "nothing there", "hint": null});
            format!("{record}\n")
        })
        .collect();
    let ran = Run::tool("ncaas-logs").arg("save").stdin(records).run();
    assert_eq!((ran.status, ran.json().len()), (1, 500));
    let certificate = submission.certificate();
    assert!(certificate.len() == 500 && certificate.iter().all(|line| line.status == "FAILED"));
}
