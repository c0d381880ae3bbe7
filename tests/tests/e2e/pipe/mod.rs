//! The seven stages as one pipe, from submit files in a bucket to results in it.

mod bucket_outage;
mod endurance;
mod forged_record;
mod hostile_s3;
mod killed_stage;
mod outage;
mod remote;
mod rules;
mod start_order;
mod turns;
mod unsaved_log;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled, docker};
use ncaas_tests::pipeline::{SubmittedJob, pipeline_script, put_submission, run_three_submissions};
use ncaas_tests::{pipe_in, unique};
use serde_json::Value;

#[test]
fn three_submissions_run_from_a_directory_bucket() {
    run_three_submissions(&TestBucket::directory("pca"), &[]);
}

#[test]
fn three_submissions_run_from_an_s3_bucket() {
    run_three_submissions(&TestBucket::s3("pca"), &[]);
}

#[test]
fn a_hand_written_record_runs_through_the_whole_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("hand");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={name}"));
    let record = format!(
        r#"{{"image":"{FIXTURE}","command":["sh","-c","echo said; echo made > io-dir/results/made"],"job":{{"id":"{name}"}},"mine":1.50}}"#
    );
    let stages = "ncaas-sync pull | jq -c . | ncaas-exec run | jq -c . | ncaas-logs save | jq -c . | ncaas-sync collect \
                  | ncaas-sync push | ncaas-exec rm";
    let ran = pipe_in(folder.path(), &format!("echo '{record}' | {stages}"), &[]);
    let ran = ran.ended_saying(1, "1 job does not come from a bucket: its results stay in the io-dir");
    let record = &ran.json()[0];
    assert_eq!(record["container"]["status"], "success", "{record}");
    let results = folder.path().join("io-dir/results").join(&name).join("process_results");
    assert_eq!(std::fs::read_to_string(results.join("made")).unwrap(), "made\n");
    assert_eq!(containers_labelled(&format!("org.neurocaas.job={name}")), Vec::<String>::new());
}

#[test]
fn a_second_run_of_the_pipe_keeps_what_the_first_one_did_not_collect() {
    let submitted = SubmittedJob::new("resumed");
    let watch = format!("ncaas-submit watch {} --once >records", submitted.bucket.address());
    pipe_in(submitted.folder.path(), &watch, &[]).ok();
    let stages = format!(
        "ncaas-sync pull <records | ncaas-exec run --image {FIXTURE} -- sh -c 'echo 1 >/tmp/out.txt' | ncaas-logs save -q \
         | ncaas-sync collect | ncaas-sync push | ncaas-exec rm"
    );
    for _ in 0..2 {
        let ran = pipe_in(submitted.folder.path(), &stages, &[]);
        let last = ran.json().pop().unwrap();
        assert_eq!((ran.status, &last["error"]["kind"]), (1, &"results-missing".into()), "{last}");
        assert_eq!(containers_labelled(&submitted.label).len(), 1);
    }
}

/// A node lost its power after the log was saved, and another job of the node cleared it.
#[test]
fn a_job_whose_container_was_removed_before_its_results_were_collected_runs_again() {
    let submitted = SubmittedJob::new("cleared");
    let script = pipeline_script(&submitted.bucket.address(), "--once --hold 0s", "echo 1 >io-dir/results/r");
    let (until_save, _) = script.split_once(" | ncaas-sync collect").unwrap();
    pipe_in(submitted.folder.path(), until_save, &[]);
    for container in containers_labelled(&submitted.label) {
        ncaas_tests::Run::tool("ncaas-exec").args(["rm", "--force", &container]).run().ok();
    }
    let ran = pipe_in(submitted.folder.path(), &script, &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(submitted.bucket.get(&submitted.key("process_results/r")), Some(b"1\n".to_vec()), "{}", ran.stderr);
}

/// Runs a job without removing its container, changes what is left, and runs the next submission, which removes it all.
fn is_left_and_removed(change: impl Fn(&SubmittedJob, &str)) {
    let submitted = SubmittedJob::new("left");
    let script = pipeline_script(&submitted.bucket.address(), "--once --hold 0s", "echo 1 >io-dir/results/r");
    let without_rm = script.strip_suffix(" | ncaas-exec rm").unwrap();
    pipe_in(submitted.folder.path(), without_rm, &[]);
    let left = containers_labelled(&submitted.label);
    assert_eq!(left.len(), 1);
    change(&submitted, &left[0]);
    assert_eq!(containers_labelled(&submitted.label).len(), 1);
    let next = unique("next");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job=job__pca_{next}"));
    put_submission(&submitted.bucket, &next, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
    let ran = pipe_in(submitted.folder.path(), &script, &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(containers_labelled(&submitted.label), Vec::<String>::new());
    assert!(!submitted.folder.path().join("io-dir/lab/.ncaas/work").join(&submitted.id).exists());
}

#[test]
fn a_restarted_pipe_removes_containers_left_by_a_killed_rm() {
    is_left_and_removed(|_, _| {});
}

/// A pipe with another io-dir wrote `end.txt`, or `push` was killed before it wrote the file of the io-dir.
#[test]
fn the_next_pipe_learns_from_the_bucket_that_a_left_container_has_ended() {
    is_left_and_removed(|submitted, _| {
        let end = submitted.folder.path().join("io-dir").join(submitted.key("process_results/end.txt"));
        std::fs::remove_file(end).unwrap();
    });
}

/// This machine lost its power while the job ran, and another one has run it again and ended it.
fn is_ended_elsewhere_and_removed(has_results: bool) {
    is_left_and_removed(|submitted, _| {
        let io_dir = submitted.folder.path().join("io-dir");
        for path in ["logs/a.txt.record.json", "process_results/end.txt"] {
            std::fs::remove_file(io_dir.join(submitted.key(path))).unwrap();
        }
        let results = io_dir.join("lab/.ncaas/work").join(&submitted.id).join("1/results");
        if has_results {
            std::fs::write(results.join("half"), "half").unwrap();
        }
    });
}

#[test]
fn a_container_whose_job_another_machine_has_ended_is_removed_with_its_files() {
    is_ended_elsewhere_and_removed(true);
}

#[test]
fn a_container_without_files_whose_job_another_machine_has_ended_is_removed() {
    is_ended_elsewhere_and_removed(false);
}

/// The engine completes the request of a killed `run` after another pipe has ended the job.
#[test]
fn the_next_rm_of_a_pipe_removes_a_container_that_was_created_after_the_end() {
    is_left_and_removed(|_, left| {
        let inspect = |format: &str| docker(&["inspect", "--format", format, left]);
        let labels: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&inspect("{{json .Config.Labels}}")).unwrap();
        let name = inspect("{{.Name}}");
        docker(&["rm", left]);
        let labels = labels.iter().map(|(key, value)| format!("--label={key}={value}")).collect::<Vec<_>>();
        let words = ["create", "--name", name.trim_start_matches('/')].into_iter();
        docker(&words.chain(labels.iter().map(String::as_str)).chain([FIXTURE, "true"]).collect::<Vec<_>>());
    });
}

#[test]
fn the_end_that_a_killed_push_has_not_written_is_written_by_the_next_pipe() {
    let submitted = SubmittedJob::new("end");
    let script = pipeline_script(&submitted.bucket.address(), "--once --hold 0s", "echo 1 >io-dir/results/r");
    let end = submitted.key("process_results/end.txt");
    assert_eq!(pipe_in(submitted.folder.path(), &script, &[]).status, 0);
    std::fs::remove_file(std::path::Path::new(&submitted.bucket.address()).join(&end)).unwrap();
    let ran = pipe_in(submitted.folder.path(), &script, &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(submitted.bucket.get(&end).is_some(), "{:?}", submitted.bucket.keys());
}

/// The full disk is a small file system of the test's own, mounted where the io-dir is.
#[test]
fn a_full_disk_under_the_io_dir_is_reported_and_the_next_run_succeeds() {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("full");
    bucket.put("lab/inputs/big.bin", vec![7; 3 << 20]);
    bucket.put("lab/configs/c.json", "{}");
    put_submission(&bucket, &name, &"lab/inputs/big.bin".into(), "lab/configs/c.json");
    let small = "mkdir io-dir && mount -t tmpfs -o size=1m none io-dir";
    let pull = format!("ncaas-submit watch {} --once --hold 0s | ncaas-sync pull", bucket.address());
    let script = format!(
        "unshare --mount bash -c 'set -o pipefail; {small} && {pull}; status=$?; ls -RA io-dir >&2; exit $status'"
    );
    let ran = pipe_in(folder.path(), &script, &[]);
    let record = &ran.json()[0];
    assert_eq!((ran.status, record["error"]["kind"].as_str()), (1, Some("disk-full")), "{}", ran.stderr);
    assert!(record["error"]["hint"].as_str().unwrap().contains("free disk space"), "{record}");
    assert!(!ran.stderr.contains("big.bin\n"), "half a dataset under its final name: {}", ran.stderr);
    // With free space, the same pipe continues.
    let ran = pipe_in(folder.path(), &pull, &[]).ok();
    assert_eq!(ran.json()[0]["error"], Value::Null);
}
