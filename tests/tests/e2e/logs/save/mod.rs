//! `ncaas-logs save`: the files of a job, read as the platform's client reads them.

mod failures;
mod outcomes;

use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::bucket::files_below;
use ncaas_tests::engine::docker;
use ncaas_tests::started_submission::{HOSTILE_OUTPUT, StartedSubmission, container_id, printed_on, save_logs};
use ncaas_tests::{Run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_platform_can_read_a_jobs_files_whatever_the_job_printed() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], HOSTILE_OUTPUT);
    let saved = save_logs(&[], &record).ok().json().remove(0);
    assert_eq!(saved["own"], 1);
    let id = saved["container"]["id"].as_str().unwrap();
    let (stdout, stderr) = (docker(&["logs", id]), "DATANAME: x | y\n");
    assert_eq!(String::from_utf8(printed_on(&submission.log(1), "stdout")).unwrap().trim_end(), stdout);
    assert_eq!(printed_on(&submission.log(1), "stderr"), stderr.as_bytes());

    let certificate = submission.certificate();
    let line = &certificate[0];
    assert_eq!((line.dataname.as_str(), line.status.as_str()), ("lab/inputs/session 1.npy", "SUCCESS"));
    assert_eq!((line.found.as_str(), line.last_command.as_str()), ("lab/inputs/session", "last ¦ one"));
    let (time, end) = line.time.split_at(19);
    assert!(end == " (finished)" && time.split('_').count() == 6, "{}", line.time);
    assert!(line.cpu == "N/A" || line.cpu.parse::<f64>().is_ok(), "{}", line.cpu);

    let status = submission.status(1);
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    let expected = [
        "instance",
        "command",
        "input",
        "status",
        "reason",
        "memory_usage",
        "cpu_usage",
        "job_start",
        "job_finish",
        "std",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&status["status"], &status["reason"], &status["instance"]), (&"SUCCESS".into(), &0.into(), &id.into()));
    let std = status["std"].as_object().unwrap();
    assert_eq!(
        std.keys().collect::<Vec<_>>(),
        (0..std.len()).map(|number| number.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(std.values().any(|line| line == "a    bc\n"), "tabs become spaces, carriage returns go");
    assert!(
        std.values().all(|line| line.as_str().unwrap().ends_with('\n')),
        "the client joins them with nothing between"
    );
    for field in ["job_start", "job_finish"] {
        let time = status[field].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "whole seconds: {time}");
    }
    assert!(serde_json::to_vec(&status).unwrap().len() < 100_000, "a long line does not make it long");

    assert_eq!(submission.saved(1), saved, "what is saved is what goes out");
    assert_eq!(files_below(&submission.logs()).iter().filter(|name| !name.starts_with(".ncaas-")).count(), 4);
}

#[test]
fn each_way_a_job_can_end_has_its_own_status() {
    let mut submission = StartedSubmission::new(6);
    let records = [
        submission.start(1, &[], "true"),
        submission.start(2, &[], "echo oh no >&2; exit 3"),
        submission.start(3, &[], "bash -c 'kill -9 $$'; exit $?"),
        submission.start(4, &["--memory=20m", "--memory-swap=20m"], "x=$(busybox yes | head -c 200m); echo $?"),
        submission.start(5, &["--label=org.neurocaas.timeout=1"], "trap 'exit 3' TERM; while :; do sleep 0.1; done"),
    ];
    let ran = save_logs(&[], &records.concat());
    assert_eq!(ran.status, 1);
    let expected = [
        "failed (exit 3) after",
        "was killed by signal 9 after",
        "ran out of memory after",
        "exceeded its time limit and was stopped after",
    ];
    assert_eq!(ran.stderr.lines().count(), expected.len(), "each failed job is one line with -q too: {}", ran.stderr);
    assert!(expected.iter().all(|end| ran.stderr.contains(&format!(" {end} "))), "{}", ran.stderr);
    let mut statuses: Vec<(u64, String)> = ran
        .json()
        .iter()
        .map(|record| {
            let status = record["container"]["status"].as_str().unwrap();
            (record["job"]["dataset"].as_u64().unwrap(), status.to_owned())
        })
        .collect();
    statuses.sort();
    let statuses: Vec<&str> = statuses.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(statuses, ["success", "failed", "killed", "out-of-memory", "timeout"]);
    let certificate: Vec<String> = submission.certificate().into_iter().map(|line| line.status).collect();
    assert_eq!(certificate, ["SUCCESS", "FAILED", "FAILED", "FAILED", "FAILED", "INITIALIZING"]);
    let reason = |dataset| submission.status(dataset)["reason"].clone();
    assert_eq!((reason(1), reason(2)), (0.into(), 3.into()));
    assert_eq!(reason(3), "was killed by signal 9 (exit 137)");
    assert!(reason(4).as_str().unwrap().starts_with("ran out of memory"), "{}", reason(4));
    assert!(reason(5).as_str().unwrap().starts_with("exceeded its time limit of 1.0 s"), "{}", reason(5));
    assert_eq!(submission.certificate()[1].last_command, "oh no");
}

#[test]
fn live_updates_the_files_of_a_running_job() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], "for i in 1 2 3 4 5 6 7 8; do echo step $i; sleep 0.5; done");
    let records = save_logs(&["--live=0.5"], &record).ok().submission_records();
    let states: Vec<&str> = records.iter().map(|record| record.container.as_ref().unwrap().state.as_str()).collect();
    let (last, running) = states.split_last().unwrap();
    assert!(*last == "exited" && running.len() >= 3 && running.iter().all(|state| *state == "running"), "{states:?}");
    let lines: Vec<u64> = records.iter().map(|record| record.logs.as_ref().unwrap().lines).collect();
    assert!(lines.is_sorted() && lines[0] < 8 && lines[lines.len() - 1] == 8, "{lines:?}");
    let usage = records.last().unwrap().usage.as_ref().unwrap();
    assert!(usage.memory_peak_bytes > 0 && usage.cpu_s > 0.0 && usage.processes_peak > 0, "{usage:?}");
}

#[test]
fn a_running_job_whose_results_folder_is_removed_is_saved_whole() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], "for i in 1 2 3 4 5 6; do echo step $i; sleep 0.5; done");
    let saving = std::thread::spawn(move || save_logs(&["--live=0.2"], &record));
    let log = submission.logs().join("session 1.npy.log");
    wait_until("the log", LIMIT, || log.exists());
    let results = submission.logs().ancestors().nth(2).unwrap().to_owned();
    let removed = results.with_extension("removed");
    std::fs::rename(&results, &removed).unwrap();
    // A write to it may still be in progress.
    wait_until("its removal", LIMIT, || std::fs::remove_dir_all(&removed).is_ok());
    let saved = saving.join().unwrap().ok().submission_records().pop().unwrap();
    assert_eq!(saved.container.unwrap().status.as_deref(), Some("success"));
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 6);
}

#[test]
fn the_files_are_kept_up_to_date_without_live_too() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], "echo begun; sleep 600");
    let mut saving = Run::tool("ncaas-logs").arg("save").into_command();
    let mut saving = saving.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut saving.stdin.take().unwrap(), record.as_bytes()).unwrap();
    let certificate = submission.logs().join("certificate.txt");
    wait_until("the certificate to show what it printed", LIMIT, || {
        let text = std::fs::read_to_string(&certificate).unwrap_or_default();
        text.contains("| STATUS: IN PROGRESS | ") && text.contains("LAST COMMAND: begun |")
    });
    assert!(!submission.logs().join("session 1.npy.record.json").exists(), "it has not ended");
    saving.kill().unwrap();
    saving.wait().unwrap();
    let left: Vec<String> = files_below(&submission.logs());
    assert!(left.iter().all(|name| !name.starts_with(".ncaas-") || name.ends_with(".lock")), "{left:?}");
    docker(&["kill", container_id(&record).as_str()]);
    let ran = save_logs(&[], &record);
    assert_eq!((ran.status, ran.submission_record().container.unwrap().status.as_deref()), (1, Some("killed")));
}

#[test]
fn concurrent_writers_lose_no_line_of_the_certificate() {
    let mut submission = StartedSubmission::new(12);
    let records: Vec<String> =
        (1..=12).map(|dataset| submission.start(dataset, &[], &format!("echo from {dataset}; sleep 1"))).collect();
    std::thread::scope(|scope| {
        for records in records.chunks(3) {
            scope.spawn(|| save_logs(&["--live=0.2"], &records.concat()).ok());
        }
    });
    for (at, line) in submission.certificate().iter().enumerate() {
        let dataset = at as u64 + 1;
        assert_eq!(line.dataname, StartedSubmission::dataname(dataset));
        assert_eq!((line.status.as_str(), &line.last_command), ("SUCCESS", &format!("from {dataset}")));
    }
}

#[test]
fn a_job_that_is_removed_when_it_ends_keeps_its_log_and_exit_code() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &["--rm"], "echo begun; sleep 1; busybox seq 1 500; exit 4");
    let ran = save_logs(&[], &record);
    let container = ran.submission_record().container.unwrap();
    assert_eq!((container.status.as_deref(), container.exit_code), (Some("failed"), Some(4)), "{}", ran.stderr);
    let log = String::from_utf8(printed_on(&submission.log(1), "stdout")).unwrap();
    assert_eq!(log.lines().count(), 501, "what it wrote in its last millisecond is there too");
    assert!(log.ends_with("500\n"));
}

#[test]
fn saved_files_are_not_written_again_and_outlive_the_container() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], "echo once");
    let first = save_logs(&[], &record).ok().text();
    let log = submission.logs().join("session 1.npy.log");
    let written = || std::fs::metadata(&log).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(save_logs(&[], &record).ok().text(), first);
    docker(&["rm", &container_id(&record)]);
    assert_eq!(save_logs(&[], &record).ok().text(), first);
    assert_eq!(written(), before);
    let state = Run::tool("ncaas-logs").arg("state").stdin(record.clone()).run().ok().json().remove(0);
    assert_eq!(state["container"]["status"], "success");
    let without = format!("{}\n", submission.record(1));
    let state = Run::tool("ncaas-logs").arg("state").stdin(without).run().ok().json().remove(0);
    assert_eq!(state["container"]["exit_code"], 0);
}
