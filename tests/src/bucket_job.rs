//! A bucket with the inputs of one job, and the io-dir that `ncaas-sync` pulls them to.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bucket::TestBucket;
use crate::sync::ncaas_sync;

/// A bucket with inputs, and a folder for the io-dir and the index.
pub struct BucketJob {
    /// Holds the io-dir and the index of `ncaas-sync`.
    pub home: TempDir,
    /// The bucket that the job belongs to.
    pub bucket: TestBucket,
}

impl BucketJob {
    /// Puts the inputs into a bucket.
    pub fn in_bucket(bucket: TestBucket) -> Self {
        let home = tempfile::tempdir().unwrap();
        bucket.put("lab/inputs/a.npy", "data");
        bucket.put("lab/inputs/folder/sub/b", "b");
        bucket.put("lab/configs/c.yaml", "n: 1");
        bucket.put("lab/submissions/submit.json", "{}");
        BucketJob { home, bucket }
    }

    /// The record of a dataset's job, as `ncaas-submit watch` emits it.
    pub fn record(&self, dataset: u64, datasets: u64) -> Value {
        json!({"job": {"id": "job__pca_1", "bucket": self.bucket.address(), "group": "lab", "submission": "lab/submissions/submit.json",
                "timestamp": "1", "dataset": dataset, "datasets": datasets, "label": format!("set{dataset}")},
            "dataname": "lab/inputs/a.npy", "configname": "lab/configs/c.yaml"})
    }

    /// The same for a job that has ended and been collected, with its files.
    pub fn ended(&self, dataset: u64, datasets: u64) -> Value {
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

    /// The group's io-dir.
    pub fn io_dir(&self) -> PathBuf {
        self.home.path().join("io-dir/lab")
    }

    /// The job's folder in the io-dir.
    pub fn folder(&self) -> PathBuf {
        self.io_dir().join("results/job__pca_1")
    }

    /// Runs `ncaas-sync` on a record.
    pub fn run(&self, arguments: &[&str], record: &Value) -> crate::Ran {
        ncaas_sync(&self.home, arguments).dir(self.home.path()).stdin(record.to_string()).run()
    }

    /// Keys in the job's folder of the bucket, relative to it.
    pub fn results_in_bucket(&self) -> Vec<String> {
        let keys = self.bucket.keys().into_iter();
        keys.filter_map(|key| key.strip_prefix("lab/results/job__pca_1/").map(str::to_owned)).collect()
    }
}
