//! Jobs between bucket and io-dir: inputs in, results and logs out, `end.txt` last.

use std::fs;
use std::path::PathBuf;

use ncaas_tests::bucket::TestBucket;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::trees::sync;

struct Jobs {
    home: TempDir,
    bucket: TestBucket,
}

impl Jobs {
    fn on(bucket: TestBucket) -> Self {
        let home = tempfile::tempdir().unwrap();
        bucket.put("lab/inputs/a.npy", "data");
        bucket.put("lab/inputs/folder/sub/b", "b");
        bucket.put("lab/configs/c.yaml", "n: 1");
        bucket.put("lab/submissions/submit.json", "{}");
        Jobs { home, bucket }
    }

    fn record(&self, dataset: u64, datasets: u64) -> Value {
        json!({"job": {"id": "job__pca_1", "bucket": self.bucket.address(), "group": "lab", "submission": "lab/submissions/submit.json",
                "timestamp": "1", "dataset": dataset, "datasets": datasets, "label": format!("set{dataset}")},
            "dataname": "lab/inputs/a.npy", "configname": "lab/configs/c.yaml"})
    }

    /// The same for a job that has ended and been collected, with its files.
    fn ended(&self, dataset: u64, datasets: u64) -> Value {
        let mut record = self.record(dataset, datasets);
        let name = format!("result{dataset}");
        let folder = self.folder();
        fs::create_dir_all(folder.join("process_results")).unwrap();
        fs::create_dir_all(folder.join("logs")).unwrap();
        fs::write(folder.join("process_results").join(&name), "12345").unwrap();
        fs::write(folder.join("process_results/c.yaml"), "n: 1").unwrap();
        record["io_dir"] = self.io_dir().to_str().unwrap().into();
        record["container"] = json!({"id": "f00", "name": "x", "state": "exited", "status": "success", "exit_code": 0, "oom_killed": false});
        record["results"] = json!([{"path": format!("results/job__pca_1/process_results/{name}"), "size": 5, "source": "/x",
            "sha256": "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"}]);
        for name in
            [format!("set{dataset}.log"), format!("DATASET_NAME:set{dataset}_STATUS.txt"), "certificate.txt".into()]
        {
            fs::write(folder.join("logs").join(name), "text").unwrap();
        }
        fs::write(folder.join(format!("logs/set{dataset}.record.json")), record.to_string()).unwrap();
        record
    }

    fn io_dir(&self) -> PathBuf {
        self.home.path().join("io-dir/lab")
    }

    fn folder(&self) -> PathBuf {
        self.io_dir().join("results/job__pca_1")
    }

    fn run(&self, arguments: &[&str], record: &Value) -> ncaas_tests::Ran {
        sync(&self.home, arguments).dir(self.home.path()).stdin(record.to_string()).run()
    }

    fn results_in_bucket(&self) -> Vec<String> {
        let keys = self.bucket.keys().into_iter();
        keys.filter_map(|key| key.strip_prefix("lab/results/job__pca_1/").map(str::to_owned)).collect()
    }
}

fn inputs_come(jobs: &Jobs) {
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
    let ran = jobs.run(&["pull"], &record).ended_saying(1, "lab/inputs/none`: there is no such object");
    assert_eq!(ran.record().error_kind(), "object-not-found");
    record["dataname"] = "other/inputs/a".into();
    assert_eq!(jobs.run(&["pull"], &record).record().error_kind(), "bad-key");
}

#[test]
fn a_jobs_inputs_come_from_a_directory() {
    inputs_come(&Jobs::on(TestBucket::directory("pca")));
}

#[test]
fn a_jobs_inputs_come_from_s3() {
    inputs_come(&Jobs::on(TestBucket::s3("jobs")));
}

fn end_comes_last(jobs: &Jobs) {
    let first = jobs.ended(1, 2);
    let second = jobs.ended(2, 2);
    jobs.run(&["push"], &first).ok();
    let there = jobs.results_in_bucket();
    assert_eq!(
        there,
        [
            "logs/DATASET_NAME:set1_STATUS.txt",
            "logs/certificate.txt",
            "logs/set1.log",
            "logs/set1.record.json",
            "process_results/c.yaml",
            "process_results/result1",
        ]
    );
    jobs.run(&["push"], &second).ok();
    assert!(jobs.results_in_bucket().contains(&"process_results/end.txt".to_owned()));
    assert!(jobs.folder().join("process_results/end.txt").exists());
    let lines = jobs.run(&["push", "--files"], &second).ok().json();
    let result = lines.iter().find(|line| line["path"] == "process_results/result2").unwrap();
    assert_eq!(result["outcome"], "unchanged", "what is there is not sent again");
}

#[test]
fn end_txt_comes_when_every_dataset_is_in_the_directory() {
    end_comes_last(&Jobs::on(TestBucket::directory("pca")));
}

#[test]
fn end_txt_comes_when_every_dataset_is_on_s3() {
    end_comes_last(&Jobs::on(TestBucket::s3("jobs")));
}

#[test]
fn a_running_job_has_its_logs_pushed_and_nothing_else() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    record["container"]["state"] = "running".into();
    record["container"]["status"] = Value::Null;
    jobs.run(&["push"], &record).ok();
    let expected = ["logs/DATASET_NAME:set1_STATUS.txt", "logs/certificate.txt", "logs/set1.log"];
    assert_eq!(jobs.results_in_bucket(), expected);
}

#[test]
fn a_refused_submission_ends_and_one_that_met_trouble_is_given_back() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    record.as_object_mut().unwrap().remove("container");
    record.as_object_mut().unwrap().remove("results");
    jobs.bucket.put("lab/results/job__pca_1/claim.json", "{}");
    record["error"] = json!({"tool": "ncaas-exec", "kind": "engine-unreachable", "message": "m", "hint": null});
    let ran = jobs.run(&["push"], &record).ended(1, "");
    assert_eq!(ran.record().error_kind(), "engine-unreachable");
    assert_eq!(jobs.results_in_bucket(), ["logs/certificate.txt"], "neither end nor claim");
    record["error"]["kind"] = "bad-submission".into();
    jobs.run(&["push"], &record).ended(1, "");
    assert!(jobs.results_in_bucket().contains(&"process_results/end.txt".to_owned()));
}

#[test]
fn a_result_that_is_not_what_the_record_says_keeps_the_job_from_ending() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let record = jobs.ended(1, 1);
    fs::write(jobs.folder().join("process_results/result1"), "1234x").unwrap();
    let ran = jobs.run(&["push"], &record).ended_saying(1, "is not what its record says");
    assert_eq!(ran.record().error_kind(), "checksum-mismatch");
    assert_eq!(jobs.results_in_bucket(), ["process_results/c.yaml"], "the other files still go, and no end.txt");
}

fn the_bucket_is_verified(jobs: &Jobs) {
    let mut record = jobs.ended(1, 1);
    let result = record["results"][0].clone();
    for name in ["changed", "same_size", "gone"] {
        fs::write(jobs.folder().join("process_results").join(name), "12345").unwrap();
        let mut result = result.clone();
        result["path"] = format!("results/job__pca_1/process_results/{name}").into();
        record["results"].as_array_mut().unwrap().push(result);
    }
    jobs.run(&["push"], &record).ok();
    jobs.run(&["verify"], &record).ok();
    let key = |name: &str| format!("lab/results/job__pca_1/process_results/{name}");
    jobs.bucket.put(&key("changed"), "123");
    jobs.bucket.put(&key("same_size"), "1234x");
    let mut moved = record["results"][3].clone();
    moved["path"] = "results/job__pca_1/process_results/never".into();
    record["results"][3] = moved;
    let ran = jobs.run(&["verify", "--bucket-only", "--files"], &record);
    let told = "of 4 files that `job__pca_1` made, 2 different in the bucket, 1 missing in the bucket";
    let lines = ran.ended_saying(1, told).json();
    let mut found: Vec<String> = lines
        .iter()
        .filter_map(|line| Some((line["path"].as_str()?, line["bucket"].as_str()?)))
        .map(|(path, found)| format!("{} {found}", path.rsplit('/').next().unwrap()))
        .collect();
    found.sort();
    assert_eq!(found, ["changed different", "never missing", "result1 same", "same_size different"]);
    jobs.run(&["verify", "--io-dir-only"], &record).ended_saying(1, "1 missing in the io-dir (`");
}

#[test]
fn what_was_changed_or_is_missing_in_a_directory_is_found() {
    the_bucket_is_verified(&Jobs::on(TestBucket::directory("pca")));
}

#[test]
fn what_was_changed_or_is_missing_on_s3_is_found() {
    the_bucket_is_verified(&Jobs::on(TestBucket::s3("verify")));
}

#[test]
fn results_go_where_the_submission_says() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let elsewhere = TestBucket::s3("elsewhere");
    let mut record = jobs.ended(1, 1);
    record["resultpath"] = format!("{}/deep/path", elsewhere.address()).into();
    jobs.run(&["push"], &record).ok();
    assert!(elsewhere.get("deep/path/job__pca_1/process_results/end.txt").is_some(), "{:?}", elsewhere.keys());
    assert_eq!(jobs.results_in_bucket(), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    jobs.bucket.put("lab/inputs/a.npy", vec![1; 3 << 20]);
    let small = jobs.home.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = ncaas_tests::pipe(&format!("mount -t tmpfs -o size=1m none '{}'", small.display()));
    assert_eq!(mounted.status, 0, "this test mounts a small disk, and so runs as root: {}", mounted.stderr);
    let ran =
        sync(&jobs.home, &["pull", "--io-dir", small.to_str().unwrap()]).stdin(jobs.record(1, 1).to_string()).run();
    let left = ncaas_tests::bucket::files_below(&small);
    ncaas_tests::pipe(&format!("umount '{}'", small.display())).ok();
    assert_eq!((ran.status, ran.record().error_kind()), (1, "disk-full"), "{}", ran.stderr);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_bucket_and_no_server_lose_no_record() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let mut record = jobs.record(1, 1);
    record["job"]["bucket"] = "s3://nowhere".into();
    for verb in ["pull", "push"] {
        let mut record = record.clone();
        if verb == "push" {
            record["container"] =
                json!({"id": "f00", "name": "x", "state": "exited", "status": "success", "oom_killed": false});
        }
        let ran = sync(&jobs.home, &[verb])
            .dir(jobs.home.path())
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .stdin(record.to_string())
            .run();
        assert_eq!((ran.status, ran.record().error_kind()), (3, "bucket-unreachable"), "{}", ran.stderr);
    }
    record["job"]["bucket"] = "/nonexistent/pca".into();
    assert_eq!(jobs.run(&["pull"], &record).ended_saying(1, "no bucket").record().error_kind(), "bucket-not-found");
}

/// A development container has the whole io-dir, and could put a link there.
#[test]
fn nothing_is_pushed_from_outside_of_the_io_dir() {
    let jobs = Jobs::on(TestBucket::directory("pca"));
    let record = jobs.ended(1, 1);
    let elsewhere = jobs.home.path().join("elsewhere");
    fs::rename(jobs.folder(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, jobs.folder()).unwrap();
    let ran = jobs.run(&["push"], &record);
    assert_eq!((ran.status, ran.record().error_kind()), (1, "unsafe-path"), "{}", ran.stderr);
    assert_eq!(jobs.results_in_bucket(), Vec::<String>::new());
}
