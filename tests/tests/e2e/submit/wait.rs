//! `ncaas-submit wait`.

use ncaas_tests::Run;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{run_verb, watch_once, with_inputs};

#[test]
fn a_submission_with_a_result_path_ends_there() {
    let bucket = with_inputs(TestBucket::s3("path"));
    let path = format!("{}/lab/elsewhere", bucket.address());
    let send =
        ["send", &format!("{}/lab", bucket.address()), "--data", "lab/inputs/x.npy", "--config", "lab/configs/c.yaml"];
    let sent = Run::tool("ncaas-submit").args(send).args(["--result-path", &path, "--timestamp", "1"]).run().ok();
    assert_eq!(sent.record().resultpath.unwrap(), path);
    let record = &watch_once(&bucket).json()[0];
    assert_eq!(record["resultpath"], path);
    let job = format!("lab/elsewhere/{}", record["job"]["id"].as_str().unwrap());
    bucket.put(&format!("{job}/logs/x.npy.record.json"), format!("{record}\n"));
    bucket.put(&format!("{job}/process_results/end.txt"), "");
    let waited = run_verb(&bucket, "wait", &["1"]).ok();
    assert_eq!(waited.record().resultpath.unwrap(), path);
    assert_eq!(watch_once(&bucket).json().len(), 0);
}
