//! Submit files, and `ncaas-submit` on the bucket that contains them.

use serde_json::{Value, json};

use crate::bucket::TestBucket;
use crate::{Ran, Run};

/// A run of `ncaas-submit`.
pub fn ncaas_submit(arguments: &[&str]) -> Run {
    Run::tool("ncaas-submit").args(arguments)
}

/// Fills a bucket with datasets, a folder as a dataset, a dataset of another group, and configs.
pub fn with_inputs(bucket: TestBucket) -> TestBucket {
    bucket.put("lab/inputs/a b.npy", "one");
    bucket.put("lab/inputs/folder/1.npy", "1");
    bucket.put("lab/inputs/folder/2.npy", "2");
    bucket.put("other/inputs/theirs.npy", "secret");
    bucket.put("lab/inputs/x.npy", "x");
    bucket.put("lab/inputs/y.npy", "y");
    bucket.put("lab/configs/config.yaml", "n_components: 3\n");
    bucket.put("lab/configs/c.yaml", "n: 1\n");
    bucket
}

/// Puts a submit file of the group `lab` into a bucket.
pub fn put_submit_file(bucket: &TestBucket, name: &str, submission: &Value) {
    bucket.put(&format!("lab/submissions/{name}_submit.json"), submission.to_string());
}

/// Runs `ncaas-submit watch --once`.
pub fn watch_once(bucket: &TestBucket) -> Ran {
    ncaas_submit(&["watch", &bucket.address(), "--once"]).run()
}

/// Puts a submit file with two datasets into a bucket. The job's id.
pub fn submit_two_datasets(bucket: &TestBucket, timestamp: &str) -> String {
    let submission = json!({"dataname": ["lab/inputs/x.npy", "lab/inputs/y.npy"], "configname": "lab/configs/c.yaml",
        "timestamp": timestamp});
    bucket.put(&format!("lab/submissions/{timestamp}_submit.json"), submission.to_string());
    format!("job__{}_{timestamp}", bucket.analysis())
}

/// Runs a verb of `ncaas-submit` on jobs of the group `lab`.
pub fn run_verb(bucket: &TestBucket, verb: &str, jobs: &[&str]) -> Ran {
    Run::tool("ncaas-submit").args([verb, &format!("{}/lab", bucket.address())]).args(jobs).run()
}

/// The output of `ncaas-submit ls`.
pub fn list_submissions(bucket: &TestBucket, arguments: &[&str]) -> Vec<Value> {
    Run::tool("ncaas-submit").args(["ls", &bucket.address()]).args(arguments).run().ok().json()
}

/// The content of a submit file with one dataset.
pub fn submit_file(timestamp: &str) -> String {
    json!({"dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "timestamp": timestamp}).to_string()
}

/// Puts a submit file with one dataset into a bucket. The job's id.
pub fn submit_one_dataset(bucket: &TestBucket, timestamp: &str) -> String {
    bucket.put(&format!("lab/submissions/{timestamp}_submit.json"), submit_file(timestamp));
    format!("job__{}_{timestamp}", bucket.analysis())
}

/// Ends a job as `ncaas-sync push` does.
pub fn put_end_file(bucket: &TestBucket, id: &str) {
    bucket.put(&format!("lab/results/{id}/process_results/end.txt"), "end of analysis\n");
}
