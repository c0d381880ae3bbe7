//! `ncaas-submit check`.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{ncaas_submit, put_submit_file, watch_once, with_inputs};
use ncaas_tests::unique;
use serde_json::{Value, json};

#[test]
fn inputs_in_another_bucket_are_read_only_with_allow_bypass() {
    let elsewhere = TestBucket::s3("elsewhere");
    elsewhere.put("x.npy", "x");
    elsewhere.put("c.yaml", "n: 1\n");
    let bucket = with_inputs(TestBucket::directory("pca"));
    let path = |name: &str| format!("{}/{name}", elsewhere.address());
    let submission = json!({"dataname": path("x.npy"), "configname": path("c.yaml"), "timestamp": "1"});
    put_submit_file(&bucket, "1", &submission);
    let checked = |arguments: &[&str]| {
        ncaas_submit(&["check", &format!("{}/lab/submissions/1_submit.json", bucket.address())]).args(arguments).run()
    };
    let shut = checked(&[]);
    assert!(shut.record().error.unwrap().message.contains(&format!("--allow-bypass {}", elsewhere.analysis())));
    let open = checked(&["--allow-bypass", elsewhere.analysis()]).ok();
    assert_eq!(open.record().dataname.unwrap(), json!(path("x.npy")));
    put_submit_file(&bucket, "1", &json!({"dataname": path("no.npy"), "configname": path("c.yaml"), "timestamp": "1"}));
    checked(&["--allow-bypass", elsewhere.analysis()]).ended_saying(1, "does not exist");
}

#[test]
fn a_folder_with_a_link_that_leads_out_of_the_bucket_is_refused_as_pull_refuses_it() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put("lab/inputs/folder/a", "1");
    let link = format!("{}/lab/inputs/folder/z", bucket.address());
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    let submission = json!({"dataname": "lab/inputs/folder/", "configname": "lab/configs/c.yaml", "timestamp": "1"});
    let group = format!("{}/lab", bucket.address());
    let checked = ncaas_submit(&["check", "--in", &group]).stdin(submission.to_string()).run();
    checked.ended_saying(1, "a link leads out of the group `lab`");
}

#[test]
fn check_accepts_files_keys_and_records() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let good = json!({"dataname": "lab/inputs/folder/", "configname": "lab/configs/config.yaml", "timestamp": 1.50});
    let bad = json!({"dataname": "lab/inputs/no", "configname": "lab/configs/config.yaml", "timestamp": "2"});
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, submission: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, submission.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let group = format!("{}/lab", bucket.address());
    let checked = ncaas_submit(&["check", &file("good", &good), "--in", &group]).run().ok();
    assert_eq!(checked.record().job.unwrap().id, "job__pca_1.5");
    ncaas_submit(&["check", &file("bad", &bad), "--in", &group])
        .run()
        .ended_saying(1, "the dataset `lab/inputs/no` does not exist");
    // Lying nowhere, only its form counts.
    ncaas_submit(&["check", &file("bad", &bad)]).run().ok();
    let lines = format!("{good}\n{bad}\n");
    let checked = ncaas_submit(&["check", "--in", &group]).stdin(lines).run();
    let mut kinds: Vec<Value> = checked.json().iter().map(|record| record["error"]["kind"].clone()).collect();
    // Records leave in the order in which they finish.
    kinds.sort_by_key(Value::is_string);
    assert_eq!((checked.status, kinds), (1, vec![Value::Null, "bad-submission".into()]));
    put_submit_file(&bucket, &unique("x"), &good);
    let handed_on = watch_once(&bucket).ok();
    ncaas_submit(&["check"]).stdin(handed_on.stdout).run().ok();
    assert!(!bucket.keys().iter().any(|key| key.contains("end.txt")));
}
