//! `ncaas-submit retry`.

use std::fs;
use std::path::Path;

use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::engine::{containers_labelled, docker};
use ncaas_tests::pipeline::{SubmittedJob, pipeline_script, put_submission};
use ncaas_tests::submissions::{list_submissions, run_verb, submit_two_datasets, watch_once, with_inputs};
use ncaas_tests::{pipe_in, unique};
use serde_json::{Value, json};

#[test]
fn retry_runs_a_refused_submission_once_its_dataset_exists() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put(
        "lab/submissions/1_submit.json",
        json!({"dataname": "lab/inputs/late.npy", "configname": "lab/configs/c.yaml", "timestamp": "1"}).to_string(),
    );
    let refused = watch_once(&bucket).json();
    assert_eq!(refused[0]["error"]["kind"], "bad-submission");
    bucket.put("lab/results/job__pca_1/logs/late.npy.record.json", format!("{}\n", refused[0]));
    bucket.put("lab/results/job__pca_1/process_results/end.txt", "");
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "refused");
    assert_eq!(watch_once(&bucket).json().len(), 0);
    bucket.put("lab/inputs/late.npy", "late");
    run_verb(&bucket, "retry", &["1"]).ok();
    let again = watch_once(&bucket).json();
    assert_eq!((again.len(), &again[0]["error"]), (1, &Value::Null));
    run_verb(&bucket, "retry", &["nowhere"]).ended_saying(1, "the group `lab` has no submission `nowhere`");
}

#[test]
fn retry_says_how_many_datasets_had_succeeded() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    submit_two_datasets(&bucket, "1");
    assert_eq!(watch_once(&bucket).json().len(), 2);
    let line = |name: &str, status: &str| {
        format!("DATANAME: lab/inputs/{name} | STATUS: {status} | TIME: x | LAST COMMAND: x | CPU_USAGE: 1\n")
    };
    let lines = [line("x.npy", "SUCCESS"), line("y.npy", "FAILED")].concat();
    let certificate = format!("PER ENVIRONMENT MONITORING:\n================\n{lines}================\n");
    bucket.put("lab/results/job__pca_1/logs/certificate.txt", certificate);
    bucket.put("lab/results/job__pca_1/process_results/end.txt", "");
    let retried = run_verb(&bucket, "retry", &["1"]);
    retried.ended_saying(0, "`job__pca_1`: 2 datasets will run again, of which 1 had succeeded");
}

#[test]
fn a_retry_runs_a_job_again_whose_container_was_kept_and_keeps_that_under_another_name() {
    let job = SubmittedJob::new("kept");
    let pipe = |analysis: &str| {
        let script = pipeline_script(&job.bucket.address(), "--once", analysis);
        pipe_in(job.folder.path(), &script, &[])
    };
    let containers = || containers_labelled(&job.label);
    let first = pipe("echo x >/tmp/x; exit 3").ended_saying(1, "files that its job wrote were not collected");
    assert!(first.stderr.contains(" | ncaas-sync push` collects them"), "{}", first.stderr);
    let kept = containers();
    assert_eq!(kept.len(), 1);
    run_verb(&job.bucket, "retry", &[&job.name]).ok();
    let again = pipe("cp $1 io-dir/results/r").ended_saying(0, "a.txt succeeded in ");
    assert!(again.stderr.contains("-attempt-1`: `ncaas-sync diff "), "{}", again.stderr);
    assert_eq!(list_submissions(&job.bucket, &[])[0]["state"], "success");
    // The next pipe removes what others have left, and not this.
    put_submission(&job.bucket, &unique("next"), &json!("lab/inputs/a.txt"), "lab/configs/c.json");
    pipe("true").ended_saying(0, "a.txt succeeded in ");
    assert_eq!(containers(), kept);
    let name = docker(&["inspect", "--format", "{{.Name}}", &kept[0]]);
    assert!(name.ends_with("-attempt-1"), "{name}");
    // Its files are not mixed with those of the attempt that is saved.
    let read = || fs::read(job.folder.path().join("io-dir").join(job.key("logs/a.txt.log"))).unwrap();
    let log = read();
    for command in ["ncaas-sync collect --all", "ncaas-logs save"] {
        let refused = pipe_in(job.folder.path(), &format!("{command} {}", kept[0]), &[]);
        refused.ended_saying(1, "a later attempt at `a.txt` is saved in ");
    }
    assert!(read() == log);
    docker(&["rm", &kept[0]]);
}

#[test]
fn results_of_an_earlier_attempt_are_not_mixed_with_those_of_the_next() {
    let job = SubmittedJob::new("twice");
    let pipe = |analysis: &str| {
        let script = pipeline_script(&job.bucket.address(), "--once", &format!("cd io-dir/results; {analysis}"));
        pipe_in(job.folder.path(), &script, &[])
    };
    let results = job.folder.path().join("io-dir").join(job.key("process_results"));
    let result = |name: &str| job.bucket.get(&job.key(&format!("process_results/{name}")));
    let first =
        "echo old >both; echo old >only-first; mkdir -p kind empty; echo f >kind/x; ln -s both link; cp $2 .; exit 3";
    pipe(first).ended_saying(1, "failed (exit 3)");
    run_verb(&job.bucket, "retry", &[&job.name]).ok();
    // They stay until the next run starts: not on a terminal.
    let watch = format!("ncaas-submit watch {} --once", job.bucket.address());
    pipe_in(job.folder.path(), &format!("script --quiet --return --command '{watch}' /dev/null"), &[]).ok();
    assert!(result("only-first").is_some() && result("link").is_some());
    let second = pipe("echo new >both; echo new >only-second; echo file >kind; ln -s only-second link");
    second.ended_saying(
        0,
        "`a.txt`: 3 results from the earlier attempt were removed, for example `process_results/empty/`",
    );
    assert_eq!((result("both").as_deref(), result("only-first")), (Some(&b"new\n"[..]), None));
    assert_eq!(result("kind").as_deref(), Some(&b"file\n"[..]));
    assert_eq!(files_below(&results), ["both", "c.json", "end.txt", "kind", "link", "only-second"]);

    // A file that somebody has changed stays, and so do others.
    fs::write(results.join("only-second"), "changed").unwrap();
    fs::write(results.join("mine"), "1").unwrap();
    run_verb(&job.bucket, "retry", &[&job.name]).ended_saying(0, "of which 1 had succeeded");
    let third = pipe("echo newer >both; echo newer >only-second").ended_saying(0, "a.txt succeeded in ");
    let warning = "`process_results/only-second` from an earlier run of this job is still next to those of this run";
    assert_eq!(third.json()[0]["warnings"], json!([warning]));
    assert_eq!(files_below(&results), ["a.txt/only-second", "both", "c.json", "end.txt", "mine", "only-second"]);
    assert_eq!(fs::read_to_string(results.join("only-second")).unwrap(), "changed");

    // On another machine.
    fs::remove_dir_all(job.folder.path().join("io-dir")).unwrap();
    job.bucket.put(&job.key("process_results/mine"), "1");
    run_verb(&job.bucket, "retry", &[&job.name]).ended_saying(0, "of which 1 had succeeded");
    let fourth = pipe("echo newest >both");
    fourth.ended_saying(0, "`process_results/mine` from an earlier run of this job is still in the bucket");
    assert_eq!((result("both").as_deref(), result("only-second")), (Some(&b"newest\n"[..]), None));
}

#[test]
fn a_refused_retry_removes_no_result_of_the_earlier_run() {
    let job = SubmittedJob::new("refused");
    let script = pipeline_script(&job.bucket.address(), "--once", "echo 1 >io-dir/results/r");
    let pipe = || pipe_in(job.folder.path(), &script, &[]);
    pipe().ended_saying(0, "a.txt succeeded in ");
    run_verb(&job.bucket, "retry", &[&job.name]).ended_saying(0, "of which 1 had succeeded");
    fs::remove_file(Path::new(&job.bucket.address()).join("lab/inputs/a.txt")).unwrap();
    pipe().ended_saying(1, "lab/inputs/a.txt");
    assert_eq!(list_submissions(&job.bucket, &[])[0]["state"], "refused");
    assert_eq!(job.bucket.text(&job.key("process_results/r")), "1\n");
}
