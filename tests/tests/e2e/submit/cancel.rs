//! `ncaas-submit cancel`.

use std::time::Duration;

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::{CleanUp, containers_labelled};
use ncaas_tests::pipeline::{pipeline_script, put_submission};
use ncaas_tests::submissions::{list_submissions, run_verb, submit_two_datasets, watch_once, with_inputs};
use ncaas_tests::{Run, unique, wait_until};
use serde_json::{Value, json};

#[test]
fn cancel_stops_a_running_submission() {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("cancel");
    let job = format!("job__pca_{name}");
    let label = format!("org.neurocaas.job={job}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put("lab/configs/c.json", "{}");
    put_submission(&bucket, &name, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
    let script = pipeline_script(&bucket.address(), "", "echo begun; sleep 600");
    let pipe = BackgroundPipe::start(folder.path(), &script);
    wait_until("the job's container", Duration::from_secs(30), || !containers_labelled(&label).is_empty());
    let target = format!("{}/lab", bucket.address());
    Run::tool("ncaas-submit").args(["cancel", &target, &name]).run();
    let end = format!("lab/results/{job}/process_results/end.txt");
    wait_until("end.txt", Duration::from_secs(60), || bucket.get(&end).is_some());
    wait_until("the container's removal", Duration::from_secs(20), || containers_labelled(&label).is_empty());
    drop(pipe);
    let record: Value =
        serde_json::from_str(&bucket.text(&format!("lab/results/{job}/logs/a.txt.record.json"))).unwrap();
    assert_eq!(record["container"]["status"], "killed", "{record}");
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "cancelled");
}

#[test]
fn a_cancelled_submission_does_not_run_and_a_retried_one_does() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_two_datasets(&bucket, "1");
    run_verb(&bucket, "cancel", &[&id]).ok();
    run_verb(&bucket, "cancel", &["1"]).ok();
    assert_eq!(list_submissions(&bucket, &[])[0]["state"], "cancelled");
    let records = watch_once(&bucket).json();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record["error"]["kind"], "cancelled", "{record}");
    }
    let retried =
        Run::tool("ncaas-submit").args(["retry"]).stdin(format!("{}\n", list_submissions(&bucket, &[])[0])).run().ok();
    assert_eq!(retried.json()[0]["state"], "waiting");
    let records = watch_once(&bucket).json();
    assert_eq!((&records[0]["error"], &records[0]["job"]["attempt"]), (&Value::Null, &json!(2)));
    run_verb(&bucket, "retry", &["1"]).ended_saying(1, "`job__pca_1` has not ended");
}
