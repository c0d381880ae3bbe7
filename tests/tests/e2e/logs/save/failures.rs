//! `ncaas-logs save` when a job, an engine, a log or a disk has failed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::bucket::files_below;
use ncaas_tests::certificate::parse_certificate;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_podman};
use ncaas_tests::started_submission::{StartedSubmission, container_id, printed_on, save_logs};
use ncaas_tests::{Run, pipe_in, unique, wait_until};
use serde_json::json;

#[test]
fn a_record_with_an_error_gets_a_certificate_with_the_reason() {
    let submission = StartedSubmission::new(2);
    let mut record = submission.record(2);
    record["error"] = json!({"tool": "ncaas-exec", "kind": "image-not-found",
        "message": "no image `x`\n================", "hint": "build it"});
    let ran = save_logs(&[], &format!("{record}\n"));
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""), "the stage that met it has said so");
    assert_eq!(ran.json()[0], record, "it passes on as it is");
    let certificate = submission.certificate();
    assert_eq!((certificate[0].status.as_str(), certificate[1].status.as_str()), ("INITIALIZING", "FAILED"));
    assert_eq!(certificate[1].last_command, "no image `x`");
    let text = String::from_utf8(submission.read("certificate.txt")).unwrap();
    assert!(text.contains("dataset 2: no image `x`\n") && text.contains("hint: build it"), "{text}");
    assert_eq!(submission.status(2)["status"], "FAILED");
    assert_eq!(submission.saved(2), record);
}

#[test]
fn a_refused_submission_has_a_certificate_line_for_each_dataset_in_its_groups_io_dir() {
    let folder = tempfile::tempdir().unwrap();
    let record = json!({
        "job": {"id": "job__a_1", "bucket": "/b", "group": "lab", "dataset": 1, "datasets": 1},
        "dataname": ["lab/inputs/a", "lab/inputs/b"],
        "setup": [{"time": "2026-11-22T10:00:00Z", "event": "found"}, {"time": "2026-11-22T10:00:01.5Z", "event": "refused"}],
        "error": {"tool": "ncaas-submit", "kind": "bad-submission", "message": "no config", "hint": null},
    });
    let ran =
        Run::tool("ncaas-logs").args(["save", "--io-dir", "io"]).dir(folder.path()).stdin(format!("{record}\n")).run();
    assert_eq!(ran.status, 1);
    let logs = folder.path().join("io/lab/results/job__a_1/logs");
    let text = std::fs::read_to_string(logs.join("certificate.txt")).unwrap();
    let lines = parse_certificate(&text);
    assert_eq!(lines.iter().map(|line| line.dataname.as_str()).collect::<Vec<_>>(), ["lab/inputs/a", "lab/inputs/b"]);
    assert!(lines.iter().all(|line| line.status == "FAILED"));
    assert!(text.contains("\n[+0:00:00.00] found\n[+0:00:01.50] refused\n"), "{text}");
}

#[test]
fn the_certificate_is_written_without_container_engine_or_readable_log() {
    let mut submission = StartedSubmission::new(3);
    let mut gone = submission.record(1);
    gone["container"] = json!({"id": "0123456789ab", "name": "", "state": "", "oom_killed": false});
    let ran = save_logs(&[], &format!("{gone}\n"));
    assert_eq!((ran.status, ran.submission_record().error_kind()), (1, "container-not-found"));
    let mut away = submission.record(2);
    away["container"] = gone["container"].clone();
    let ran =
        Run::tool("ncaas-logs").arg("save").env("DOCKER_HOST", "unix:///nowhere").stdin(format!("{away}\n")).run();
    assert_eq!((ran.status, ran.submission_record().error_kind()), (3, "engine-unreachable"));
    let silent = submission.start(3, &["--log-driver=none"], "echo lost");
    let ran = save_logs(&[], &silent).ok();
    let warnings = ran.submission_record().warnings.unwrap();
    assert!(
        warnings[0].contains("its log driver is `none`"),
        "the job is none the worse, but its log is lost: {warnings:?}"
    );
    let certificate: Vec<String> = submission.certificate().into_iter().map(|line| line.status).collect();
    assert_eq!(certificate, ["FAILED", "FAILED", "SUCCESS"]);
}

#[test]
fn bytes_replaced_by_the_log_driver_are_counted() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], r"printf 'a\377\376b\n\357\277\275\n'");
    let warnings = save_logs(&[], &record).ok().submission_record().warnings;
    if is_podman() {
        assert_eq!(warnings, None, "its driver keeps them");
        return;
    }
    assert!(warnings.as_ref().unwrap()[0].starts_with("2 bytes of its output were not valid UTF-8"), "{warnings:?}");
    let kept = submission.start(1, &["--log-driver=local"], r"printf 'a\377\376b\n'");
    assert_eq!(save_logs(&[], &kept).ok().submission_record().warnings, None);
    assert_eq!(printed_on(&submission.log(1), "stdout"), b"a\xff\xfeb\n");
}

#[test]
fn a_container_that_is_not_a_job_is_saved_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut clean_up = CleanUp::new();
    let name = unique("dev");
    clean_up.container(&name);
    docker(&["run", "-d", "--name", &name, FIXTURE, "echo", "hello"]);
    docker(&["wait", &name]);
    Run::tool("ncaas-logs").args(["save", "-q", &name]).dir(folder.path()).run().ok();
    let log = std::fs::read(folder.path().join(format!("io-dir/logs/{name}.log"))).unwrap();
    assert_eq!(printed_on(&log, "stdout"), b"hello\n");
}

#[test]
fn a_full_disk_is_an_error_record_and_leaves_no_partial_file() {
    let mut submission = StartedSubmission::new(1);
    let record = submission.start(1, &[], "busybox seq 1 400000");
    docker(&["wait", &container_id(&record)]);
    let folder = submission.io_dir.path().to_owned();
    let mounted = pipe_in(&folder, "mount -t tmpfs -o size=1m none .", &[]);
    assert_eq!(mounted.status, 0, "{}", mounted.stderr);
    let ran = save_logs(&[], &record);
    let left = files_below(&submission.logs());
    let unmounted = pipe_in(Path::new("/"), &format!("umount {}", folder.display()), &[]);
    assert_eq!(unmounted.status, 0, "{}", unmounted.stderr);
    assert_eq!((ran.status, ran.submission_record().error_kind()), (1, "disk-full"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: free disk space"), "{}", ran.stderr);
    assert!(!left.iter().any(|name| name.ends_with(".npy.log") || name.ends_with(".record.json")), "{left:?}");
}

/// Prints 20,000 lines three times, each time after a file has appeared. The engine keeps some 4,000 of them.
const PRINTS_MUCH: &str = r#"
for part in 1 2 3; do
  until [ -e /go/$part ]; do busybox usleep 50000; done
  # The engine must not remove the first and the third part before a loaded machine has read them.
  pause=$(( part == 2 ? 30000 : 100000 ))
  for i in $(busybox seq 1 20000); do echo $part-$i; (( i % 500 )) || busybox usleep $pause; done
done"#;

/// The lines of the saved log, without times and streams.
fn saved_lines(submission: &StartedSubmission) -> Vec<String> {
    let log = std::fs::read_to_string(submission.logs().join("session 1.npy.log")).unwrap_or_default();
    log.lines().map(|line| line[38..].to_owned()).collect()
}

#[test]
fn output_that_the_engine_removed_before_it_was_read_is_reported_and_saved_output_is_kept() {
    if is_podman() {
        // Its log has one file, which is emptied when it is full.
        return;
    }
    let mut submission = StartedSubmission::new(1);
    let go = tempfile::tempdir().unwrap();
    let mount = format!("--volume={}:/go", go.path().display());
    let options = ["--log-opt=max-size=200k", "--log-opt=max-file=2", mount.as_str()];
    let record = submission.start(1, &options, PRINTS_MUCH);
    let id = container_id(&record);
    let let_it_print = |part: u32| std::fs::write(go.path().join(part.to_string()), "").unwrap();

    // The first part is saved. The engine removes it while no `save` runs.
    let input = go.path().join("record");
    std::fs::write(&input, &record).unwrap();
    let mut command = Run::tool("ncaas-logs").args(["save", "--live=100ms"]).into_command();
    command.stdin(std::fs::File::open(&input).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = command.spawn().unwrap();
    let_it_print(1);
    let ends_with = |lines: Vec<String>, end: &str| lines.last().is_some_and(|line| line == end);
    wait_until("the saved log", Duration::from_secs(60), || ends_with(saved_lines(&submission), "1-20000"));
    first.kill().unwrap();
    first.wait().unwrap();
    let_it_print(2);
    wait_until("the second part", Duration::from_secs(60), || docker(&["logs", "--tail=1", &id]) == "2-20000");
    let_it_print(3);

    let ran = Run::tool("ncaas-logs").arg("save").stdin(record).run();
    let warning = "the log lacks output in 1 place, which the engine removed before it was read";
    assert!(ran.status == 0 && ran.stderr.contains(warning), "{}", ran.stderr);
    assert!(ran.json()[0]["warnings"][0].as_str().unwrap().contains(warning), "{}", ran.text());
    let lines = saved_lines(&submission);
    let part = |number: u32| lines.iter().filter(|line| line.starts_with(&format!("{number}-"))).count();
    let missing: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains("output is missing here")).collect();
    assert_eq!((part(1), part(3), missing), (20_000, 20_000, vec![20_000]), "{} lines", lines.len());
    assert!(part(2) < 20_000, "{}", part(2));
}

#[test]
fn the_log_of_a_container_that_was_lost_is_replaced_by_that_of_the_next_one() {
    let mut submission = StartedSubmission::new(1);
    let options = ["--log-opt=max-size=200k", "--log-opt=max-file=2"];
    let record = submission.start(1, &options, "echo second run");
    let log = submission.logs().join("session 1.npy.log");
    std::fs::create_dir_all(submission.logs()).unwrap();
    std::fs::write(&log, "2026-01-01T00:00:00.000000000Z stdout first run\n").unwrap();
    let ran = save_logs(&[], &record).ok();
    assert_eq!(saved_lines(&submission), ["second run"]);
    assert_eq!(ran.submission_record().warnings, None, "{}", ran.stderr);
}
