//! `ncaas-submit wait`.

use std::fs;
use std::path::Path;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::pipeline::{SubmittedJob, pipeline_script};
use ncaas_tests::submissions::{list_submissions, run_verb, watch_once, with_inputs};
use ncaas_tests::{Ran, Run, pipe_in};
use serde_json::json;

#[test]
fn a_submission_with_a_result_path_ends_there() {
    let bucket = with_inputs(TestBucket::s3("path"));
    let path = format!("{}/lab/elsewhere", bucket.address());
    let send =
        ["send", &format!("{}/lab", bucket.address()), "--data", "lab/inputs/x.npy", "--config", "lab/configs/c.yaml"];
    let sent = Run::tool("ncaas-submit").args(send).args(["--result-path", &path, "--timestamp", "1"]).run().ok();
    assert_eq!(sent.record().resultpath.unwrap(), path);
    let record = &watch_once(&bucket).json()[0];
    assert_eq!(record["resultpath"], path);
    let job = format!("lab/elsewhere/{}", record["job"]["id"].as_str().unwrap());
    bucket.put(&format!("{job}/logs/x.npy.record.json"), format!("{record}\n"));
    bucket.put(&format!("{job}/process_results/end.txt"), "");
    let waited = run_verb(&bucket, "wait", &["1"]).ok();
    assert_eq!(waited.record().resultpath.unwrap(), path);
    assert_eq!(watch_once(&bucket).json().len(), 0);
}

/// A directory bucket with three datasets of one submission, whose jobs the pipe has run in an image; one of them
/// fails.
fn run_submission(folder: &Path, image: &str) -> Ran {
    for (name, content) in [("a.npy", "fail"), ("b.npy", "b"), ("c.npy", "fail"), ("c.yaml", "n: 1\n")] {
        fs::write(folder.join(name), content).unwrap();
    }
    pipe_in(folder, "ncaas-submit init ./pca --group lab", &[]).ok();
    let send = "ncaas-submit send ./pca/lab --data a.npy b.npy c.npy --config c.yaml --timestamp 1";
    pipe_in(folder, send, &[]).ok();
    let job = r#"echo starting; if grep -q fail "$1"; then echo part >io-dir/results/p; echo "ValueError: no spikes" >&2; exit 7; fi; echo x >/tmp/x"#;
    let pipe = format!(
        "ncaas-submit watch ./pca --once | ncaas-sync pull | ncaas-exec run --image {image} -- sh -c '{job}' sh | \
         ncaas-logs save | ncaas-sync collect | ncaas-sync push | ncaas-exec rm"
    );
    pipe_in(folder, &pipe, &[])
}

#[test]
fn the_submitter_sees_why_each_job_failed_and_where_its_log_is() {
    let folder = tempfile::tempdir().unwrap();
    run_submission(folder.path(), FIXTURE);
    let ran = pipe_in(folder.path(), "ncaas-submit wait ./pca/lab 1", &[]);
    let (status, lines): (i32, Vec<&str>) = (ran.status, ran.stderr.lines().collect());
    assert_eq!((status, lines.len(), ran.json().len()), (1, 3, 3), "{lines:#?}");
    let log = "pca/lab/results/job__pca_1/logs/c.npy.log";
    assert!(lines[1].starts_with("ncaas-submit: b.npy succeeded in "), "{lines:#?}");
    assert!(lines[1].contains(", but has no results: 1 file under `/tmp` left out"), "{lines:#?}");
    assert!(lines[2].starts_with("ncaas-submit: c.npy failed (exit 7) after "), "{lines:#?}");
    let end = format!(
        " s: ValueError: no spikes; log: {log}; 1 result, 5 B in pca/lab/results/job__pca_1/process_results/c.npy"
    );
    assert!(lines[2].ends_with(&end), "{lines:#?}");
    assert!(folder.path().join(log).exists());
    assert_eq!(ran.json()[2]["cause"], "ValueError: no spikes");
}

#[test]
fn a_submission_that_no_engine_could_run_waits() {
    let job = SubmittedJob::new("engineless");
    let script = pipeline_script(&job.bucket.address(), "--once", "true");
    let pipe = |host: &str| pipe_in(job.folder.path(), &format!("{host}{script}"), &[]);
    pipe("export DOCKER_HOST=unix:///nonexistent.sock; ").ended_saying(1, "/nonexistent.sock");
    let listed = &list_submissions(&job.bucket, &[])[0];
    assert_eq!((&listed["state"], &listed["jobs"][0]["status"]), (&json!("waiting"), &json!("waiting")), "{listed}");
    pipe("").ended_saying(0, "a.txt succeeded in ");
}

#[test]
fn a_failure_of_several_datasets_is_told_to_the_submitter_once_with_its_hint() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = run_submission(folder.path(), "nosuch/image:1");
    let advice: Vec<&str> = pipe.stderr.lines().filter(|line| line.contains("run it again with")).collect();
    assert_eq!(advice.len(), 1, "once for three datasets: {}", pipe.stderr);
    let retry = advice[0].split('`').nth(3).unwrap();
    let ran = pipe_in(folder.path(), "ncaas-submit wait ./pca/lab 1", &[]);
    let hint = "pull it with `ncaas-build pull nosuch/image:1`, or build it with `ncaas-build image`";
    let message = "ncaas-submit: 3 datasets: image `nosuch/image:1` does not exist on this engine";
    ran.ended(1, &format!("{message}\nhint: {hint}\n"));
    let command = "script --quiet --return --command 'ncaas-submit wait ./pca/lab 1' /dev/null";
    let screen = pipe_in(folder.path(), command, &[]);
    let screen = String::from_utf8_lossy(&screen.stdout).replace('\r', "");
    assert_eq!(screen.trim(), format!("{message}\nhint: {hint}"), "and nothing else on a terminal");
    assert_eq!(pipe_in(folder.path(), retry, &[]).status, 0, "{retry}");
}

#[test]
fn a_pipe_without_push_says_that_the_submitter_has_no_results() {
    let job = SubmittedJob::new("unpushed");
    let script = pipeline_script(&job.bucket.address(), "--once", "cp $1 io-dir/results/r");
    let unpushed = pipe_in(job.folder.path(), &script.replace(" | ncaas-sync push", ""), &[]);
    unpushed.ended_saying(0, "the results of 1 job from a bucket were not pushed: put `ncaas-sync push` before ");
    assert!(job.bucket.get(&job.key("process_results/r")).is_none());
    let whole = pipe_in(job.folder.path(), &script, &[]).ended_saying(0, "a.txt succeeded in ");
    assert!(
        !whole.stderr.contains("not pushed") && job.bucket.text(&job.key("process_results/r")) == "one",
        "{whole:?}"
    );
}
