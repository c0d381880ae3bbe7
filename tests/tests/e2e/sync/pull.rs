//! `ncaas-sync pull`.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::bucket_job::BucketJob;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::sync::ncaas_sync;
use ncaas_tests::{Run, wait_until};
use serde_json::json;

#[test]
fn pull_downloads_datasets_and_a_config_from_arguments() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/a.txt", "1");
    bucket.put("lab/inputs/folder/b", "2");
    bucket.put("lab/configs/c.yaml", "n: 1");
    let (group, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let arguments = ["pull", &group, "--io-dir", io_dir.to_str().unwrap(), "--data", "lab/inputs/a.txt"];
    let more = ["--data", "lab/inputs/folder/", "--config", "lab/configs/c.yaml"];
    let records = ncaas_sync(&home, &[&arguments[..], &more[..]].concat()).run().ok().records();
    assert_eq!(records.len(), 2);
    for record in &records {
        let config = record.configname.as_deref().unwrap();
        assert_eq!(fs::read_to_string(config).unwrap(), "n: 1");
        assert!(Path::new(record.dataname.as_ref().unwrap().as_str().unwrap()).exists());
    }
    let missing = [&arguments[..5], &["lab/inputs/none"]].concat();
    ncaas_sync(&home, &missing).run().ended_saying(1, "lab/inputs/none`: the object does not exist");
    let misspelt = [&arguments[..5], &["lab/inputs/b.txt"]].concat();
    let ran = ncaas_sync(&home, &misspelt).run();
    ran.ended_saying(1, "lab/inputs/b.txt`: the object does not exist, but `lab/inputs/a.txt` does");
    let elsewhere = [&arguments[..5], &["other/inputs/a"]].concat();
    ncaas_sync(&home, &elsewhere).run().ended_saying(1, "`other/inputs/a` is not a key of the group");
}

#[test]
fn records_leave_pull_in_the_order_in_which_they_came() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let records: Vec<String> = (1..=300)
        .map(|dataset| {
            let mut record = jobs.record(dataset, 300);
            record["dataname"] = format!("lab/inputs/{dataset}").into();
            // Every tenth one takes longer.
            jobs.bucket.put(&format!("lab/inputs/{dataset}"), vec![1; if dataset % 10 == 0 { 1 << 20 } else { 1 }]);
            format!("{record}\n")
        })
        .collect();
    // The second time, nothing is downloaded.
    for _ in 0..2 {
        let pulled = ncaas_sync(&jobs.home, &["pull"]).dir(jobs.home.path()).stdin(records.concat()).run().ok().json();
        let order: Vec<u64> = pulled.iter().map(|record| record["job"]["dataset"].as_u64().unwrap()).collect();
        assert_eq!(order, (1..=300).collect::<Vec<_>>());
    }
}

#[test]
fn pull_emits_a_record_for_a_dataset_that_cannot_be_downloaded() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/a.txt", "1");
    bucket.put("lab/configs/c.yaml", "n: 1");
    let (group, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let pull = |data: &[&str], config: &str| {
        let arguments = ["pull", &group, "--io-dir", io_dir.to_str().unwrap(), "--config", config];
        let data: Vec<&str> = data.iter().flat_map(|name| ["--data", name]).collect();
        ncaas_sync(&home, &[&arguments[..], &data].concat()).run()
    };
    let records = pull(&["lab/inputs/none", "lab/inputs/a.txt"], "lab/configs/c.yaml");
    let records = records.ended_saying(1, "lab/inputs/none`: the object does not exist").records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].error_kind(), "object-not-found");
    assert_eq!(records[0].dataname.as_ref().unwrap().as_str(), Some("lab/inputs/none"));
    assert!(Path::new(records[1].dataname.as_ref().unwrap().as_str().unwrap()).exists());
    let records = pull(&["lab/inputs/a.txt"], "lab/configs/none.yaml").records();
    assert_eq!((records.len(), records[0].error_kind()), (1, "object-not-found"));
}

#[test]
fn pull_refuses_a_sparse_object_that_no_disk_of_this_size_can_hold() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/huge", "x");
    bucket.put("lab/configs/c.yaml", "n: 1");
    let huge = Path::new(&bucket.address()).join("lab/inputs/huge");
    fs::File::options().write(true).open(huge).unwrap().set_len(15 << 40).unwrap();
    let (group, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let arguments = ["pull", &group, "--io-dir", io_dir.to_str().unwrap(), "--data", "lab/inputs/huge"];
    let ran = ncaas_sync(&home, &arguments).run();
    let record = ran.ended_saying(1, "more than its disk can hold").record();
    assert_eq!(record.error_kind(), "too-large");
    assert_eq!(files_below(&io_dir), [""; 0]);
}

#[test]
fn pull_reports_keys_that_leave_the_io_dir_or_cannot_be_files() {
    let bucket = TestBucket::s3("hostile");
    let home = tempfile::tempdir().unwrap();
    for key in ["lab/good", "lab/a/../../../../../../../../tmp/ncaas-escaped", "lab//double", "lab/pre", "lab/pre/fix"]
    {
        bucket.put(key, "x");
    }
    let long = format!("lab/{}", "n".repeat(300));
    bucket.put(&long, "x");
    let io_dir = home.path().join("io");
    let arguments = ["pull", &format!("{}/lab", bucket.address()), "--io-dir", io_dir.to_str().unwrap(), "--files"];
    let ran = ncaas_sync(&home, &arguments).run();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let mut outcomes: Vec<String> = ran
        .json()
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| format!("{} {} {}", line["key"], line["outcome"], line["error"]["kind"]))
        .map(|line| line.replace(&"n".repeat(300), "long").replace('"', ""))
        .collect();
    outcomes.sort();
    // Of two keys of which one is a folder of the other, whichever comes first has its place.
    let both = outcomes.iter().filter(|line| line.starts_with("lab/pre")).count();
    outcomes.retain(|line| !line.starts_with("lab/pre"));
    assert_eq!(both, 2);
    assert_eq!(
        outcomes,
        [
            "lab//double left-out bad-key",
            "lab/a/../../../../../../../../tmp/ncaas-escaped left-out bad-key",
            "lab/good new null",
            "lab/long failed bad-key",
        ]
    );
    assert!(!std::path::Path::new("/tmp/ncaas-escaped").exists());
    let mut files = files_below(&io_dir);
    files.retain(|file| !file.starts_with("lab/pre"));
    assert_eq!(files, ["lab/good"]);
}

fn inputs_come(jobs: &BucketJob) {
    let mut record = jobs.record(1, 1);
    record["mine"] = json!({"n": 1.5});
    let ran = jobs.run(&["pull"], &record).ok();
    assert_eq!(ran.json()[0]["mine"]["n"].to_string(), "1.5");
    assert_eq!(ran.json()[0]["io_dir"].as_str().unwrap(), jobs.io_dir().to_str().unwrap());
    record.as_object_mut().unwrap().remove("mine");
    for (path, content) in [("inputs/a.npy", "data"), ("configs/c.yaml", "n: 1"), ("submissions/submit.json", "{}")] {
        assert_eq!(fs::read_to_string(jobs.io_dir().join(path)).unwrap(), content);
    }
    let written = || fs::metadata(jobs.io_dir().join("inputs/a.npy")).unwrap().modified().unwrap();
    let first = written();
    jobs.run(&["pull"], &record).ok();
    assert_eq!(written(), first, "what is there is not brought again");
    jobs.bucket.put("lab/inputs/a.npy", "DATA");
    jobs.run(&["pull"], &record).ok();
    assert_eq!(fs::read_to_string(jobs.io_dir().join("inputs/a.npy")).unwrap(), "DATA");
    record["dataname"] = "lab/inputs/folder/".into();
    jobs.run(&["pull"], &record).ok();
    assert_eq!(fs::read_to_string(jobs.io_dir().join("inputs/folder/sub/b")).unwrap(), "b");
    record["dataname"] = "lab/inputs/none".into();
    let ran = jobs.run(&["pull"], &record).ended_saying(1, "lab/inputs/none`: the object does not exist");
    assert_eq!(ran.record().error_kind(), "object-not-found");
    record["dataname"] = "other/inputs/a".into();
    assert_eq!(jobs.run(&["pull"], &record).record().error_kind(), "bad-key");
}

#[test]
fn pull_downloads_the_inputs_of_a_job_from_a_directory() {
    inputs_come(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn pull_downloads_the_inputs_of_a_job_from_s3() {
    inputs_come(&BucketJob::in_bucket(TestBucket::s3("jobs")));
}

#[test]
fn a_full_disk_is_reported_and_leaves_no_partial_file() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    jobs.bucket.put("lab/inputs/a.npy", vec![1; 3 << 20]);
    let small = jobs.home.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = ncaas_tests::pipe(&format!("mount -t tmpfs -o size=1m none '{}'", small.display()));
    assert_eq!(mounted.status, 0, "this test mounts a small disk, and so runs as root: {}", mounted.stderr);
    let ran = ncaas_sync(&jobs.home, &["pull", "--io-dir", small.to_str().unwrap()])
        .stdin(jobs.record(1, 1).to_string())
        .run();
    let left = ncaas_tests::bucket::files_below(&small);
    ncaas_tests::pipe(&format!("umount '{}'", small.display())).ok();
    assert_eq!((ran.status, ran.record().error_kind()), (1, "disk-full"), "{}", ran.stderr);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_missing_bucket_or_server_loses_no_record() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.record(1, 1);
    record["job"]["bucket"] = "s3://nowhere".into();
    for verb in ["pull", "push"] {
        let mut record = record.clone();
        if verb == "push" {
            record["container"] =
                json!({"id": "f00", "name": "x", "state": "exited", "status": "success", "oom_killed": false});
        }
        let ran = ncaas_sync(&jobs.home, &[verb])
            .dir(jobs.home.path())
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .stdin(record.to_string())
            .run();
        assert_eq!((ran.status, ran.record().error_kind()), (3, "bucket-unreachable"), "{}", ran.stderr);
    }
    record["job"]["bucket"] = "/nonexistent/pca".into();
    assert_eq!(
        jobs.run(&["pull"], &record).ended_saying(1, "bucket `/nonexistent/pca` does not exist").record().error_kind(),
        "bucket-not-found"
    );
}

fn an_ended_job_is_not_run_again(jobs: &BucketJob) {
    let ended = jobs.ended(1, 1);
    jobs.run(&["push"], &ended).ok();
    let elsewhere = tempfile::tempdir().unwrap();
    let pull = |record: &serde_json::Value| {
        ncaas_sync(&elsewhere, &["pull"]).dir(elsewhere.path()).stdin(record.to_string()).run().ok().json().remove(0)
    };
    let pulled = pull(&jobs.record(1, 1));
    assert_eq!(pulled["pushed"], true);
    assert_eq!(pulled["container"]["status"], "success");
    assert_eq!(pulled["container"]["id"], "", "a record from a bucket chooses no container");
    assert_eq!(pulled["results"], ended["results"]);
    assert_eq!(pulled["io_dir"], elsewhere.path().join("io-dir/lab").to_str().unwrap());
    assert!(!elsewhere.path().join("io-dir/lab/inputs").exists(), "inputs are not downloaded");
    // Later stages pass it through untouched.
    for verb in ["collect", "push"] {
        let run = ncaas_sync(&elsewhere, &[verb]).dir(elsewhere.path()).stdin(pulled.to_string()).run();
        assert_eq!(run.ok().json(), std::slice::from_ref(&pulled), "{verb}");
    }
    // A new attempt runs, and so does another job whose record somebody forged.
    let mut retried = jobs.record(1, 1);
    retried["job"]["attempt"] = 2.into();
    assert_eq!(pull(&retried).get("pushed"), None);
    let mut forged = ended.clone();
    forged["job"]["id"] = "job__pca_2".into();
    jobs.bucket.put("lab/results/job__pca_1/logs/set1.record.json", forged.to_string());
    assert_eq!(pull(&jobs.record(1, 1)).get("pushed"), None);
}

#[test]
fn an_ended_job_in_a_directory_is_not_run_again() {
    an_ended_job_is_not_run_again(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn an_ended_job_on_s3_is_not_run_again() {
    an_ended_job_is_not_run_again(&BucketJob::in_bucket(TestBucket::s3("ended")));
}

#[test]
fn the_io_dir_of_a_group_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    jobs.run(&["pull"], &jobs.record(1, 1)).ok();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&jobs.io_dir()), 0o700);
    let by_name = jobs.home.path().join("by-name");
    let group = format!("{}/lab", jobs.bucket.address());
    let ran = ncaas_sync(&jobs.home, &["pull", &group, "--io-dir", by_name.to_str().unwrap()]).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(mode(&by_name.join("lab")), 0o700);
}

#[test]
fn a_repeated_failure_is_reported_once_with_a_count() {
    let home = tempfile::tempdir().unwrap();
    let ran = ncaas_sync(&home, &["pull"]).stdin("nonsense\n".repeat(300)).run();
    assert_eq!((ran.status, ran.records().len()), (1, 300));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(lines[0].contains("the line is not JSON"), "{}", ran.stderr);
    let counted = "ncaas-sync: 299 more records failed with the same error: the line is not JSON";
    assert!(lines[1].starts_with(counted), "{}", ran.stderr);
    // Failures that differ only in a name are reported ten times.
    let missing =
        |number| format!("{}\n", serde_json::json!({"image": FIXTURE, "dataname": format!("/nowhere/{number}")}));
    let records: String = (0..300).map(missing).collect();
    let ran = Run::tool("ncaas-exec").arg("run").dir(home.path()).stdin(records).run();
    assert_eq!((ran.status, ran.json().len()), (1, 300));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.contains("/nowhere/")).count(), 11, "{}", ran.stderr);
    let counted = "ncaas-exec: 290 more records failed with errors such as: ";
    assert!(lines.last().unwrap().starts_with(counted), "{}", ran.stderr);
}

#[test]
fn an_object_that_is_replaced_while_it_is_pulled_is_pulled_anew() {
    let (bucket, home, proxy) = (TestBucket::s3("replaced"), tempfile::tempdir().unwrap(), S3Proxy::new());
    let key = "lab/inputs/large.bin";
    bucket.put(key, vec![b'a'; 30 << 20]);
    proxy.received.hold_after(5 << 20);
    let (address, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let pull = ["pull", &address, "--data", key, "--io-dir", io_dir.to_str().unwrap()];
    let pull = ncaas_sync(&home, &pull).env("AWS_ENDPOINT_URL", &proxy.url);
    let child = pull.into_command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    wait_until("a part has arrived", Duration::from_secs(60), || proxy.received.limit_reached());
    bucket.put(key, vec![b'b'; 20 << 20]);
    proxy.received.hold_after(u64::MAX);
    let ended = child.unwrap().wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let content = fs::read(io_dir.join(key)).unwrap();
    assert!(content.len() == 20 << 20 && content.iter().all(|byte| *byte == b'b'), "{} bytes", content.len());
}
