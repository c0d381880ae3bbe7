//! `ncaas-submit send`.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::submissions::{ncaas_submit, watch_once, with_inputs};
use ncaas_tests::wait_until;
use serde_json::{Value, json};

fn a_sent_submission_is_emitted(bucket: &TestBucket) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("it's $(x).npy"), "data").unwrap();
    std::fs::create_dir(path("many")).unwrap();
    std::fs::write(path("many/1.npy"), "1").unwrap();
    std::fs::write(path("c.json"), "{}").unwrap();
    let target = format!("{}/lab", bucket.address());
    let sent = ncaas_submit(&["send", &target, "--data", &path("it's $(x).npy"), &path("many"), "lab/inputs/a b.npy"])
        .args(["--config", &path("c.json"), "--timestamp", "16:52:06.8 x", "--set", "note={\"n\":1.50}"])
        .run()
        .ok();
    let record = &sent.json()[0];
    let id = format!("job__{}_16:52:06.8 x", bucket.analysis());
    assert_eq!(record["job"]["id"], id.as_str());
    assert_eq!(record["dataname"], json!(["lab/inputs/it's $(x).npy", "lab/inputs/many/", "lab/inputs/a b.npy"]));
    assert_eq!(bucket.text("lab/inputs/it's $(x).npy"), "data");
    assert_eq!(bucket.text("lab/inputs/many/1.npy"), "1");

    let handed_on = watch_once(bucket).ok().json();
    let names: Vec<&Value> = handed_on.iter().map(|record| &record["dataname"]).collect();
    assert_eq!(names, ["lab/inputs/it's $(x).npy", "lab/inputs/many/", "lab/inputs/a b.npy"]);
    for (record, dataset) in handed_on.iter().zip(1..) {
        assert_eq!(record["job"]["id"], id.as_str());
        assert_eq!((&record["job"]["dataset"], &record["job"]["datasets"]), (&json!(dataset), &json!(3)));
        assert_eq!(record["job"]["bucket"], bucket.address());
        assert_eq!(record["note"]["n"].to_string(), "1.50");
    }
    assert_eq!(watch_once(bucket).ended_saying(0, "skipped 1 submission: ").text(), "", "what was emitted is held");
    // Nothing has changed: nothing is sent again, but for the submit file under another timestamp.
    let sent = ncaas_submit(&["send", &target, "--data", &path("many"), "--config", &path("c.json")]).run().ok();
    let earlier = format!("`{}` has the same datasets and config", sent.json()[0]["job"]["id"].as_str().unwrap());
    std::fs::write(path("many/1.npy"), "2").unwrap();
    let again = ["send", &target, "--data", &path("many"), "--config", &path("c.json")];
    ncaas_submit(&again).run().ended_saying(1, "`lab/inputs/many/1.npy` exists in the bucket with other content than");
    let again_sent = ncaas_submit(&again).arg("--force").run().ended_saying(0, &earlier);
    assert_eq!(again_sent.stderr.lines().count(), 1, "{}", again_sent.stderr);
    let cancel = again_sent.stderr.split('`').rfind(|words| words.starts_with("ncaas-submit cancel ")).unwrap();
    assert_eq!(ncaas_tests::pipe(cancel).ok().json()[0]["state"], "cancelled");
    assert_eq!(bucket.text("lab/inputs/many/1.npy"), "2");
    // A refused submission overwrites nothing.
    std::fs::write(path("many/1.npy"), "3").unwrap();
    ncaas_submit(&again)
        .args(["--force", "--timestamp", "16:52:06.8 x"])
        .run()
        .ended_saying(1, "the submission `lab/submissions/16:52:06.8 x_submit.json` already exists");
    assert_eq!(bucket.text("lab/inputs/many/1.npy"), "2");
}

#[test]
fn a_submission_sent_to_a_directory_is_emitted_by_watch() {
    a_sent_submission_is_emitted(&with_inputs(TestBucket::directory("pca")));
}

#[test]
fn a_submission_sent_to_s3_is_emitted_by_watch() {
    a_sent_submission_is_emitted(&with_inputs(TestBucket::s3("send")));
}

#[test]
fn a_link_is_sent_under_its_own_name() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(path(".git/annex/objects/run5")).unwrap();
    std::fs::write(path(".git/annex/objects/MD5E-s4--abc"), "data").unwrap();
    std::fs::write(path(".git/annex/objects/run5/x"), "1").unwrap();
    for (target, name) in [("MD5E-s4--abc", "sub-01.npy"), ("MD5E-s4--abc", "sub-02.npy"), ("run5", "latest")] {
        std::os::unix::fs::symlink(format!(".git/annex/objects/{target}"), path(name)).unwrap();
    }
    std::os::unix::fs::symlink(format!("{}/lab/configs/config.yaml", bucket.address()), path("today.yaml")).unwrap();
    let target = format!("{}/lab", bucket.address());
    let send = ["send", &target, "--config", &path("today.yaml"), "--data"];
    let sent = ncaas_submit(&send).args([path("sub-01.npy"), path("sub-02.npy"), path("latest/")]).run().ok();
    let record = &sent.json()[0];
    assert_eq!(record["dataname"], json!(["lab/inputs/sub-01.npy", "lab/inputs/sub-02.npy", "lab/inputs/latest/"]));
    assert_eq!(record["configname"], "lab/configs/config.yaml", "a file in the bucket is not copied in it");
    assert_eq!((bucket.text("lab/inputs/sub-02.npy"), bucket.text("lab/inputs/latest/x")), ("data".into(), "1".into()));
    let here = ncaas_submit(&["send", &target, "--config", &path("today.yaml"), "--data", "."]);
    let sent = here.dir(path(".git/annex/objects/run5")).run().ok();
    assert_eq!(sent.json()[0]["dataname"], "lab/inputs/run5/");
}

#[test]
fn send_waits_for_a_busy_or_unreachable_server_within_its_patience() {
    let bucket = with_inputs(TestBucket::s3("busy"));
    let proxy = S3Proxy::new();
    let target = format!("{}/lab", bucket.address());
    for (timestamp, state) in [("busy", &proxy.outage.is_busy), ("away", &proxy.outage.is_away)] {
        state.store(true, Ordering::Relaxed);
        let before = proxy.outage.refused.load(Ordering::Relaxed);
        let send = ncaas_submit(&["send", &target, "--data", "lab/inputs/a b.npy", "--timestamp", timestamp])
            .args(["--config", "lab/configs/c.yaml", "--patience", "60s"])
            .env("AWS_ENDPOINT_URL", &proxy.url);
        let child = send.into_command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        // More attempts than without patience.
        wait_until("attempts", Duration::from_secs(60), || proxy.outage.refused.load(Ordering::Relaxed) >= before + 5);
        state.store(false, Ordering::Relaxed);
        let ended = child.unwrap().wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn send_reports_why_it_cannot_submit() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let target = format!("{}/lab", bucket.address());
    let send = |data: &str, config: &str| ncaas_submit(&["send", &target, "--data", data, "--config", config]).run();
    send("nowhere.npy", "lab/configs/config.yaml").ended(
        1,
        "ncaas-submit: `nowhere.npy` is neither a local file nor a key of the group\n\
         hint: a key begins with the group: `lab/inputs/...`\n",
    );
    send("lab/inputs/missing", "lab/configs/config.yaml")
        .ended_saying(1, "the dataset `lab/inputs/missing` does not exist");
    send("lab/inputs/a b.npy", "lab/configs/confg.yml").ended(
        1,
        "ncaas-submit: the config `lab/configs/confg.yml` does not exist, but `lab/configs/config.yaml` does\n",
    );
    send("lab/inputs/a b.npy", "lab/inputs/a b.npy").ended_saying(1, "must end in `.json`, `.yaml` or `.yml`");
    ncaas_submit(&["send", &bucket.address()]).run().ended_saying(2, "--data");
    let s3 = ["send", "s3://no-such-bucket-here/lab", "--data", "lab/inputs/x", "--config", "lab/configs/c.yaml"];
    ncaas_submit(&s3).run().ended_saying(1, "the bucket does not exist");
    ncaas_submit(&s3).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").run().ended_saying(3, "connection refused");
    assert!(!bucket.keys().iter().any(|key| key.contains("submissions")), "nothing was handed in");
}
