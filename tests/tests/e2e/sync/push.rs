//! `ncaas-sync push`.

use std::fs;
use std::os::unix::fs::symlink;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::bucket_job::BucketJob;
use ncaas_tests::sync::{count, ncaas_sync, outcomes_by_path, write_below};
use serde_json::{Value, json};

#[test]
fn more_large_files_than_upload_buffers_are_pushed_at_once() {
    let bucket = TestBucket::s3("sync");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    for number in 0..8 {
        fs::File::create(folder.join(number.to_string())).unwrap().set_len(17 << 20).unwrap();
    }
    let target = format!("{}/t", bucket.address());
    let pushed = ncaas_sync(&home, &["push", folder.to_str().unwrap(), &target]).run().ok().json().remove(0);
    assert_eq!((count(&pushed, "new"), count(&pushed, "bytes")), (8, 8 * (17 << 20)));
}

#[test]
fn push_deletes_nothing_if_the_source_is_empty_or_incomplete() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("t/a", "1");
    bucket.put("t/sub/b", "1");
    let target = format!("{}/t", bucket.address());
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    let source = folder.to_str().unwrap();
    let ran = ncaas_sync(&home, &["push", source, &target, "--delete"]).run();
    let ran = ran.ended_saying(1, "nothing was deleted, of 2 objects that have no file: the folder is empty");
    assert_eq!(count(&ran.json()[0], "deleted"), 0);
    // A link to a folder stands for what may lie below it.
    write_below(&folder, "c", "1");
    fs::create_dir(home.path().join("elsewhere")).unwrap();
    symlink(home.path().join("elsewhere"), folder.join("sub")).unwrap();
    let ran = ncaas_sync(&home, &["push", source, &target, "--delete", "--files"]).run();
    let ran = ran.ended_saying(0, "`sub` cannot go into a bucket: it is a link that leads out of the folder");
    let deleted: Vec<_> =
        outcomes_by_path(&ran.json()).into_iter().filter(|(_, outcome)| outcome == "deleted").collect();
    assert_eq!(deleted, [("a".to_owned(), "deleted".to_owned())]);
    assert_eq!(bucket.text("t/sub/b"), "1");
    ncaas_sync(&home, &["push", home.path().join("none").to_str().unwrap(), &target, "--delete"])
        .run()
        .ended_saying(1, "none");
    assert_eq!(bucket.text("t/c"), "1");
}

fn end_comes_last(jobs: &BucketJob) {
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
fn end_txt_is_written_to_a_directory_after_the_last_dataset() {
    end_comes_last(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn end_txt_is_written_to_s3_after_the_last_dataset() {
    end_comes_last(&BucketJob::in_bucket(TestBucket::s3("jobs")));
}

#[test]
fn only_the_logs_of_a_running_job_are_pushed() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    record["container"]["state"] = "running".into();
    record["container"]["status"] = Value::Null;
    jobs.run(&["push"], &record).ok();
    let expected = ["logs/DATASET_NAME:set1_STATUS.txt", "logs/certificate.txt", "logs/set1.log"];
    assert_eq!(jobs.results_in_bucket(), expected);
}

#[test]
fn push_ends_a_refused_submission_and_releases_one_that_may_be_retried() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
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
fn a_result_that_differs_from_its_record_keeps_the_job_from_ending() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let record = jobs.ended(1, 1);
    fs::write(jobs.folder().join("process_results/result1"), "1234x").unwrap();
    let ran = jobs.run(&["push"], &record).ended_saying(1, "is not the one in its record");
    assert_eq!(ran.record().error_kind(), "checksum-mismatch");
    assert_eq!(jobs.results_in_bucket(), ["process_results/c.yaml"], "the other files still go, and no end.txt");
}

#[test]
fn results_are_pushed_to_the_result_path_of_the_submission() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let elsewhere = TestBucket::s3("elsewhere");
    let mut record = jobs.ended(1, 1);
    record["resultpath"] = format!("{}/deep/path", elsewhere.address()).into();
    jobs.run(&["push"], &record).ok();
    assert!(elsewhere.get("deep/path/job__pca_1/process_results/end.txt").is_some(), "{:?}", elsewhere.keys());
    assert_eq!(jobs.results_in_bucket(), Vec::<String>::new());
}
