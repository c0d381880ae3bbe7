//! The order in which the jobs of a bucket start.

use std::collections::BTreeSet;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::CleanUp;
use ncaas_tests::pipeline::{pipeline_script, put_submission};
use ncaas_tests::{pipe_in, unique};
use serde_json::json;

fn a_backlog_starts_in_its_order(bucket: &TestBucket) {
    let folder = tempfile::tempdir().unwrap();
    let mut clean_up = CleanUp::new();
    bucket.put("lab/configs/c.json", "{}");
    // The first datasets take longer to download.
    let datasets = ["a", "b", "c", "d", "e"].map(|name| format!("lab/inputs/{name}"));
    for (dataset, megabytes) in datasets.iter().zip([48, 24, 1, 0, 0]) {
        bucket.put(dataset, vec![1; megabytes << 20]);
    }
    let names = ["1-older", "2-newer"].map(unique);
    for (name, datasets) in names.iter().zip([&datasets[..3], &datasets[3..]]) {
        clean_up.labelled(&format!("org.neurocaas.job=job__{}_{name}", bucket.analysis()));
        put_submission(bucket, name, &json!(datasets), "lab/configs/c.json");
    }
    let script =
        pipeline_script(&bucket.address(), "--once --hold 0s", "true").replace("ncaas-exec run", "ncaas-exec run -j 1");
    let ran = pipe_in(folder.path(), &script, &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    // A record may have come while its job ran, too.
    let started: BTreeSet<(String, String)> = ran
        .json()
        .iter()
        .map(|record| (record["container"]["started_at"].to_string(), record["dataname"].as_str().unwrap().to_owned()))
        .collect();
    let order: Vec<String> = started.into_iter().map(|(_, dataset)| dataset).collect();
    assert_eq!(order, datasets);
}

#[test]
fn a_backlog_in_a_directory_starts_in_its_order() {
    a_backlog_starts_in_its_order(&TestBucket::directory("pca"));
}

#[test]
fn a_backlog_on_s3_starts_in_its_order() {
    a_backlog_starts_in_its_order(&TestBucket::s3("order"));
}
