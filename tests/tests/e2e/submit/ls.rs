//! `ncaas-submit ls` and `wait`: the state of a submission from its beginning to its end.

use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::Run;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{
    list_submissions, put_submit_file, run_verb, submit_one_dataset, submit_two_datasets, watch_once, with_inputs,
};
use ncaas_tests::watch_process::WatchProcess;
use serde_json::{Value, json};

/// What the later stages of the pipe leave in the bucket when a dataset's job has ended.
fn end_dataset(bucket: &TestBucket, record: &Value, status: &str) {
    let mut saved = record.clone();
    saved["io_dir"] = "/elsewhere/lab".into();
    saved["container"] = json!({"id": "1", "name": "n", "state": "exited", "status": status, "exit_code": 0});
    let job = format!("lab/results/{}", record["job"]["id"].as_str().unwrap());
    let label = record["job"]["label"].as_str().unwrap();
    bucket.put(&format!("{job}/logs/{label}.record.json"), format!("{saved}\n"));
    if record["job"]["dataset"] == record["job"]["datasets"] {
        bucket.put(&format!("{job}/process_results/end.txt"), "end of analysis\n");
    }
}

fn a_submission_from_its_beginning_to_its_end(bucket: &TestBucket) {
    let id = submit_two_datasets(bucket, "1");
    assert_eq!(list_submissions(bucket, &[])[0]["state"], "waiting");
    let records = watch_once(bucket).json();
    assert_eq!(records.len(), 2);
    let claimed = &list_submissions(bucket, &["--state", "claimed"])[0];
    assert!(claimed["owner"].as_str().unwrap().contains(':') && claimed["claimed_at"].is_string(), "{claimed}");
    bucket.put(
        &format!("lab/results/{id}/logs/certificate.txt"),
        "PER ENVIRONMENT MONITORING:\n================\n\
         DATANAME: lab/inputs/x.npy | STATUS: IN PROGRESS | TIME: 2026_11_22_10_24_55 | LAST COMMAND: fitting | CPU_USAGE: 97.2\n\
         DATANAME: lab/inputs/y.npy | STATUS: INITIALIZING | TIME: 2026_11_22_10_24_55 | LAST COMMAND: N/A | CPU_USAGE: N/A\n\
         ================\n",
    );
    end_dataset(bucket, &records[0], "success");
    let running = &list_submissions(bucket, &["--group", "lab"])[0];
    assert_eq!((&running["state"], &running["datasets_done"]), (&json!("running"), &json!(1)));
    let statuses: Vec<&Value> = running["jobs"].as_array().unwrap().iter().map(|job| &job["status"]).collect();
    assert_eq!(statuses, ["success", "initializing"]);

    let mut command =
        Run::tool("ncaas-submit").args(["wait", &format!("{}/lab", bucket.address()), "1"]).into_command();
    let waiting = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    end_dataset(bucket, &records[1], "failed");
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(1), "one of them failed");
    let told = String::from_utf8(waited.stderr).unwrap();
    assert!(told.contains("x.npy: in progress (fitting)"), "{told}");
    let ended: Vec<Value> =
        waited.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|record| record.get("io_dir").is_none()), "that is another machine's");
    assert_eq!(list_submissions(bucket, &["--state", "failed"]).len(), 1);
    assert_eq!(list_submissions(bucket, &["--state", "success", "--state", "waiting"]).len(), 0);
    run_verb(bucket, "cancel", &["1"]).ended_saying(1, "has already ended");
}

#[test]
fn ls_and_wait_report_the_state_of_a_submission_in_a_directory() {
    a_submission_from_its_beginning_to_its_end(&with_inputs(TestBucket::directory("pca")));
}

#[test]
fn ls_and_wait_report_the_state_of_a_submission_on_s3() {
    a_submission_from_its_beginning_to_its_end(&with_inputs(TestBucket::s3("ls")));
}

#[test]
fn ls_shows_why_a_submission_was_refused() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put("lab/submissions/hand_submit.json", "no JSON");
    put_submit_file(
        &bucket,
        "1",
        &json!({"dataname": "lab/inputs/nx.npy", "configname": "lab/configs/c.yaml", "timestamp": "1"}),
    );
    for record in watch_once(&bucket).json() {
        let job = format!("lab/results/{}", record["job"]["id"].as_str().unwrap());
        bucket.put(&format!("{job}/logs/x.record.json"), format!("{record}\n"));
        bucket.put(&format!("{job}/process_results/end.txt"), "end of analysis\n");
    }
    let refused = list_submissions(&bucket, &["--state", "refused"]);
    assert_eq!(refused.len(), 2);
    for record in refused {
        assert!(record["reason"].as_str().is_some() && record["datasets_done"] == 0, "{record}");
    }
    let ls = format!("script --quiet --return --command 'ncaas-submit ls {}' /dev/null", bucket.address());
    let shown = ncaas_tests::pipe_in(std::path::Path::new("/"), &ls, &[]).text();
    assert!(shown.contains("`job__pca_1` was refused: the dataset `lab/inputs/nx.npy` does not exist"), "{shown}");
    assert!(shown.contains("was refused: the submit file is not JSON"), "{shown}");
    assert!(shown.contains(" 0/1 ") && shown.contains(" 0/0 "), "{shown}");
}

#[test]
fn a_submission_of_a_dead_watcher_is_lost() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let watching = WatchProcess::start(&bucket, &[]);
    watching.wait_for(&submit_one_dataset(&bucket, "1"));
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "claimed");
    watching.signal("-KILL");
    drop(watching);
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "lost", "its process has died on this machine");
    // The same watcher as another machine sees it.
    let key = bucket.keys().into_iter().find(|key| key.starts_with(".ncaas/watchers/")).unwrap();
    let mut heartbeat: Value = serde_json::from_str(&bucket.text(&key)).unwrap();
    heartbeat["process"]["machine"] = "elsewhere".into();
    bucket.put(&key, heartbeat.to_string());
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "claimed");
    let file = std::fs::File::options().write(true).open(format!("{}/{key}", bucket.address())).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(130)).unwrap();
    assert_eq!(list_submissions(&bucket, &["--state", "lost"]).len(), 1, "it was silent for two minutes");
}

fn platform_results_are_believed(bucket: &TestBucket) {
    for (timestamp, status) in [("good", "SUCCESS"), ("bad", "FAILED")] {
        let id = submit_one_dataset(bucket, timestamp);
        let certificate = format!(
            "PER ENVIRONMENT MONITORING:\n================\nDATANAME: lab/inputs/x.npy | STATUS: {status} \
             | TIME: 2026_11_22_10_24_55 (finished) | LAST COMMAND: ValueError: bad shape | CPU_USAGE: 97.2\n================\n"
        );
        bucket.put(&format!("lab/results/{id}/logs/certificate.txt"), certificate);
    }
    let ran = watch_once(bucket);
    assert_eq!(ran.text(), "", "the platform runs them");
    assert!(ran.stderr.contains("so the platform runs it"), "{}", ran.stderr);
    run_verb(bucket, "retry", &["bad"]).ended_saying(1, "no watcher has claimed a submission with this id");
    for timestamp in ["good", "bad"] {
        bucket.put(&format!("lab/results/job__{}_{timestamp}/process_results/end.txt", bucket.analysis()), "end\n");
    }
    let states = |state: &str| {
        let listed = list_submissions(bucket, &["--state", state]);
        listed.iter().map(|record| record["job"]["timestamp"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((states("success"), states("failed")), (vec!["good".to_owned()], vec!["bad".to_owned()]));
    run_verb(bucket, "wait", &["good"]).ended_saying(0, "has ended on the platform");
    let waited = run_verb(bucket, "wait", &["bad"]);
    assert_eq!((waited.status, waited.json()[0]["error"]["kind"].clone()), (1, json!("job-failed")));
    assert!(waited.stderr.contains("ValueError: bad shape"), "{}", waited.stderr);
}

#[test]
fn certificates_of_the_platform_decide_the_state_in_a_directory() {
    platform_results_are_believed(&with_inputs(TestBucket::directory("pca")));
}

#[test]
fn certificates_of_the_platform_decide_the_state_on_s3() {
    platform_results_are_believed(&with_inputs(TestBucket::s3("platform")));
}

#[test]
fn a_terminal_gets_a_table_and_json_on_request() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_two_datasets(&bucket, "1");
    let on_terminal = |flags: &str| {
        let command = format!("stty cols 80; ncaas-submit ls {} {flags}", bucket.address());
        ncaas_tests::pipe(&format!("script --quiet --return --command '{command}' /dev/null")).text()
    };
    let table = on_terminal("");
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("JOB") && lines[0].contains("STATE") && lines.len() == 2, "{table}");
    assert!(lines[1].starts_with(&id) && lines[1].contains("waiting") && lines[1].contains("0/2"), "{table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");
    let record: Value = serde_json::from_str(on_terminal("--json").trim()).unwrap();
    assert_eq!(record["state"], "waiting");
}

#[test]
fn ls_watch_emits_what_has_changed() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_one_dataset(&bucket, "1");
    let mut command = Run::tool("ncaas-submit").args(["ls", &bucket.address(), "--watch"]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next_state = || {
        let record: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        record["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(next_state(), "waiting");
    run_verb(&bucket, "cancel", &[&id]).ok();
    assert_eq!(next_state(), "cancelled");
    child.kill().unwrap();
    child.wait().unwrap();
}
