//! A person who may write to one group of a directory bucket: what that group holds reaches no other group, and stops
//! nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ncaas_tests::Run;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{ncaas_submit, watch_once, with_inputs};
use serde_json::json;

fn root(bucket: &TestBucket) -> PathBuf {
    PathBuf::from(bucket.address())
}

/// A bucket in which the group `lab` has one submission, and the group `bad` has inputs.
fn two_groups() -> TestBucket {
    let bucket = with_inputs(TestBucket::directory("pca"));
    bucket.put("bad/inputs/x.npy", "x");
    bucket.put("bad/configs/c.yaml", "n: 1\n");
    bucket.put("lab/submissions/1_submit.json", submission("lab", "1"));
    bucket
}

fn submission(group: &str, timestamp: &str) -> String {
    let (dataset, config) = (format!("{group}/inputs/x.npy"), format!("{group}/configs/c.yaml"));
    json!({"dataname": dataset, "configname": config, "timestamp": timestamp}).to_string()
}

fn link(to: impl AsRef<Path>, at: PathBuf) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    symlink(to, at).unwrap();
}

/// Makes entries of the group `bad` that no tool can use, and the words by which each is named on stderr.
fn break_group(bucket: &TestBucket) -> Vec<&'static str> {
    let bad = root(bucket).join("bad");
    for name in ["outside", "loop", "fifo", "broken"] {
        bucket.put(&format!("bad/submissions/{name}_submit.json"), submission("bad", name));
    }
    let results = bad.join("results");
    link("/etc", results.join("job__pca_outside"));
    link("job__pca_loop", results.join("job__pca_loop"));
    fs::create_dir_all(results.join("job__pca_fifo/process_results")).unwrap();
    let fifo = results.join("job__pca_fifo/process_results/end.txt");
    ncaas_tests::pipe(&format!("mkfifo '{}'", fifo.display())).ok();
    link("nothing", results.join("job__pca_broken/claim.json"));
    link("/etc/hostname", bad.join("submissions/away_submit.json"));
    vec!["outside_submit.json", "loop_submit.json", "fifo_submit.json", "broken_submit.json"]
}

#[test]
fn a_claim_with_impossible_numbers_stops_no_other_group() {
    let bucket = two_groups();
    for (name, field, value) in
        [("1", "number", u64::MAX), ("2", "attempt", u64::MAX), ("3", "losses", u32::MAX.into())]
    {
        bucket.put(&format!("bad/submissions/{name}_submit.json"), submission("bad", name));
        let mut claim = json!({"submission": format!("bad/submissions/{name}_submit.json"), "watcher": "dead", "owner": "",
            "host": "", "claimed_at": "2026-11-27T18:41:19Z", "attempt": 1, "number": 1, "losses": 0});
        claim[field] = value.into();
        bucket.put(&format!("bad/results/job__pca_{name}/claim.json"), claim.to_string());
    }
    let records = watch_once(&bucket).ok().records();
    let groups: Vec<String> = records.iter().map(|record| record.job.clone().unwrap().group.unwrap()).collect();
    assert_eq!((groups.len(), groups.contains(&"lab".to_owned())), (4, true), "{groups:?}");
}

#[test]
fn a_bad_entry_of_one_group_is_refused_alone() {
    let bucket = two_groups();
    let names = break_group(&bucket);
    let ran = watch_once(&bucket);
    assert_eq!(ran.status, 1, "{}", ran.text());
    let emitted: Vec<String> = ran.records().iter().map(|record| record.job.clone().unwrap().id).collect();
    assert!(emitted.contains(&"job__pca_1".to_owned()), "{emitted:?} {}", ran.stderr);
    for name in &names {
        assert!(ran.stderr.contains(name), "{name} is not in: {}", ran.stderr);
    }
    let listed = ncaas_submit(&["ls", &bucket.address(), "--json"]).run();
    assert_eq!(listed.status, 1);
    assert!(listed.text().contains("job__pca_1"), "{}", listed.text());
    for name in names {
        assert!(listed.stderr.contains(name), "{name} is not in: {}", listed.stderr);
    }
}

#[test]
fn submissions_that_cannot_be_listed_stop_no_other_group() {
    let bucket = two_groups();
    link("/etc", root(&bucket).join("bad/submissions"));
    for arguments in [["watch", "--once"], ["ls", "--json"]] {
        let ran = ncaas_submit(&[arguments[0], &bucket.address(), arguments[1]]).run();
        assert!(ran.text().contains("job__pca_1") && ran.stderr.contains("`bad`"), "{}", ran.text());
    }
}

/// What the group `lab` has in the bucket.
fn lab_files(bucket: &TestBucket) -> Vec<(String, Vec<u8>)> {
    let keys = bucket.keys().into_iter().filter(|key| key.starts_with("lab/"));
    keys.map(|key| (key.clone(), bucket.get(&key).unwrap_or_default())).collect()
}

/// Links of the group `bad` into the group `lab`, and each verb on them.
#[test]
fn no_verb_follows_a_link_from_one_group_to_another() {
    let bucket = two_groups();
    bucket.put("lab/results/job__pca_1/logs/x.npy.record.json", json!({"job": {"id": "job__pca_1"}}).to_string());
    bucket.put("lab/results/job__pca_1/process_results/secret", "for lab only");
    let address = bucket.address();
    let group = format!("{address}/bad");
    link("../lab/results", root(&bucket).join("bad/results"));
    link("../../lab/inputs/y.npy", root(&bucket).join("bad/inputs/y.npy"));
    link("../../lab/inputs", root(&bucket).join("bad/inputs/all"));
    bucket.put("bad/submissions/1_submit.json", submission("bad", "1"));
    for (name, dataset) in [("y", "bad/inputs/y.npy"), ("all", "bad/inputs/all/")] {
        let submission = json!({"dataname": dataset, "configname": "bad/configs/c.yaml", "timestamp": name});
        bucket.put(&format!("bad/submissions/{name}_submit.json"), submission.to_string());
    }
    let before = lab_files(&bucket);
    let home = tempfile::tempdir().unwrap();
    let io_dir = home.path().join("io");
    let io_dir = io_dir.to_str().unwrap();
    let job = json!({"id": "job__pca_1", "bucket": address, "group": "bad", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "dataname": "bad/inputs/y.npy", "configname": "bad/configs/c.yaml"});
    let ended = json!({"job": job, "dataname": "bad/inputs/x.npy", "io_dir": format!("{io_dir}/bad"),
        "container": {"id": "", "name": "n", "state": "exited", "status": "success", "exit_code": 0},
        "results": [{"path": "results/job__pca_1/process_results/secret", "size": 6, "source": "/x"}]});
    fs::create_dir_all(format!("{io_dir}/bad/results/job__pca_1/logs")).unwrap();
    fs::create_dir_all(format!("{io_dir}/bad/results/job__pca_1/process_results")).unwrap();
    fs::write(format!("{io_dir}/bad/results/job__pca_1/process_results/secret"), "forged").unwrap();
    let results = format!("{group}/results");
    let inputs = format!("{group}/inputs/all");
    let submit = |arguments: &[&str]| Run::tool("ncaas-submit").args(arguments);
    let sync = |arguments: &[&str]| Run::tool("ncaas-sync").args(arguments);
    let data = home.path().join("new.npy");
    fs::write(&data, "new").unwrap();
    let runs = [
        submit(&["cancel", &group, "job__pca_1"]),
        submit(&["retry", "--force", &group, "job__pca_1"]),
        submit(&["wait", &group, "job__pca_1"]),
        submit(&["ls", &address, "--group", "bad", "--json"]),
        submit(&["watch", &address, "--group", "bad", "--once"]),
        submit(&["cancel"]).stdin(record.to_string()),
        submit(&["retry", "--force"]).stdin(record.to_string()),
        sync(&["pull", "--io-dir", io_dir]).stdin(record.to_string()),
        sync(&["push", &format!("{io_dir}/bad"), &results]),
        sync(&["push", &format!("{io_dir}/bad"), &inputs]),
        sync(&["push"]).stdin(ended.to_string()),
        sync(&["verify"]).stdin(ended.to_string()),
        sync(&["status"]).stdin(ended.to_string()),
    ];
    for run in runs {
        let ran = run.run();
        assert_ne!(ran.status, 0, "{}", ran.text());
        assert!(!String::from_utf8_lossy(&ran.stdout).contains("for lab only"), "{}", ran.text());
    }
    // A whole group is pulled without them.
    assert_eq!(sync(&["pull", &group, "--io-dir", io_dir]).run().status, 0);
    assert_eq!(lab_files(&bucket), before);
    let pulled = ncaas_tests::bucket::files_below(home.path());
    assert!(!pulled.iter().any(|path| path.ends_with("y.npy") || path.ends_with("a b.npy")), "{pulled:?}");
}

/// A job from arguments has its results where the io-dir of such a group would be.
#[test]
fn the_folders_of_an_io_dir_are_not_groups() {
    let bucket = two_groups();
    bucket.put("results/submissions/2_submit.json", submission("results", "2"));
    bucket.put("results/inputs/x.npy", "x");
    let address = bucket.address();
    for group in ["results", "inputs", "configs", "submissions", "logs", ".ncaas"] {
        let ran = ncaas_submit(&["init", &address, "--group", group]).run();
        assert!(ran.status != 0 && ran.stderr.contains("is not a valid group"), "{group}: {}", ran.text());
        let ran = ncaas_submit(&["watch", &address, "--group", group, "--once"]).run();
        assert!(ran.status != 0 && ran.stderr.contains("is not a valid group"), "{group}: {}", ran.text());
    }
    let emitted: Vec<String> = watch_once(&bucket).records().into_iter().map(|record| record.job.unwrap().id).collect();
    assert_eq!(emitted, ["job__pca_1"]);
}
