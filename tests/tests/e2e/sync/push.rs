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
    let ran = ran.ended_saying(1, "deleted none of 2 objects that have no file: the folder is empty");
    assert_eq!(count(&ran.json()[0], "deleted"), 0);
    // A link to a folder stands for anything below it.
    write_below(&folder, "c", "1");
    fs::create_dir(home.path().join("elsewhere")).unwrap();
    symlink(home.path().join("elsewhere"), folder.join("sub")).unwrap();
    let ran = ncaas_sync(&home, &["push", source, &target, "--delete", "--files"]).run();
    let ran = ran.ended_saying(0, "`sub` cannot be stored in a bucket: it is a link that leads out of the folder");
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
fn end_txt_is_written_for_a_job_whose_stage_died_after_its_saved_record() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    jobs.bucket.put("lab/results/job__pca_1/logs/set1.record.json", record.to_string());
    record["pushed"] = true.into();
    jobs.run(&["push"], &record).ok();
    assert!(jobs.results_in_bucket().contains(&"process_results/end.txt".to_owned()));
}

#[test]
fn end_txt_is_written_for_two_groups_whose_submissions_have_one_id() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    let mut records = String::new();
    for group in ["lab", "other"] {
        record["job"]["group"] = group.into();
        jobs.bucket.put(&format!("{group}/results/job__pca_1/logs/set1.record.json"), record.to_string());
        record["pushed"] = true.into();
        records.push_str(&format!("{record}\n"));
    }
    ncaas_sync(&jobs.home, &["push"]).dir(jobs.home.path()).stdin(records).run().ok();
    for group in ["lab", "other"] {
        let end = format!("{group}/results/job__pca_1/process_results/end.txt");
        assert!(jobs.bucket.get(&end).is_some(), "{:?}", jobs.bucket.keys());
    }
}

#[test]
fn a_stale_claim_on_a_pushed_job_is_not_a_failure() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    record["job"]["claim"] = json!({"watcher": "w", "number": 3});
    record["pushed"] = true.into();
    jobs.bucket.put("lab/results/job__pca_1/claim.json", claim(4));
    jobs.run(&["push"], &record).ok();
    assert_eq!(jobs.results_in_bucket(), ["claim.json"]);
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
    jobs.bucket.put("lab/results/job__pca_1/claim.json", claim(3));
    record["error"] = json!({"tool": "ncaas-exec", "kind": "engine-unreachable", "message": "m", "hint": null});
    let ran = jobs.run(&["push"], &record).ended(1, "");
    assert_eq!(ran.record().error_kind(), "engine-unreachable");
    assert_eq!(jobs.results_in_bucket(), ["claim.json", "logs/certificate.txt"], "no end.txt");
    let claim: Value = serde_json::from_str(&jobs.bucket.text("lab/results/job__pca_1/claim.json")).unwrap();
    assert_eq!((&claim["watcher"], &claim["number"]), (&json!(""), &json!(3)), "free for the next watcher");
    record["error"]["kind"] = "bad-submission".into();
    jobs.run(&["push"], &record).ended(1, "");
    assert!(jobs.results_in_bucket().contains(&"process_results/end.txt".to_owned()));
}

/// A claim with that number.
fn claim(number: u64) -> String {
    json!({"submission": "lab/submissions/submit.json", "watcher": "w", "owner": "host 1", "claimed_at": "2026-11-27T12:00:00Z",
        "attempt": 1, "number": number, "losses": 0})
    .to_string()
}

fn superseded_work_writes_nothing(jobs: &BucketJob) {
    let key = "lab/results/job__pca_1/claim.json";
    let mut record = jobs.ended(1, 1);
    record["job"]["claim"] = json!({"watcher": "w", "number": 3});
    jobs.bucket.put(key, claim(4));
    let ran = jobs.run(&["push"], &record).ended_saying(1, "`job__pca_1` has been taken over by the watcher `host 1`");
    assert_eq!(ran.record().error_kind(), "superseded");
    // The next stages report the failure and write nothing either.
    let ran = jobs.run(&["push"], &ran.json()[0]).ended(1, "");
    assert_eq!(ran.record().pushed, None);
    assert_eq!(jobs.results_in_bucket(), ["claim.json"]);
    // The claim was deleted, and another watcher's new one has the same number.
    jobs.bucket.put(key, claim(3).replace("\"w\"", "\"other\""));
    assert_eq!(jobs.run(&["push"], &record).record().error_kind(), "superseded");
    assert_eq!(jobs.results_in_bucket(), ["claim.json"]);
    jobs.bucket.put(key, claim(3));
    assert_eq!(jobs.run(&["push"], &record).ok().record().pushed, Some(true));
    assert!(jobs.results_in_bucket().contains(&"process_results/end.txt".to_owned()));
}

#[test]
fn a_superseded_job_writes_nothing_to_a_directory() {
    superseded_work_writes_nothing(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn a_superseded_job_writes_nothing_to_s3() {
    superseded_work_writes_nothing(&BucketJob::in_bucket(TestBucket::s3("fence")));
}

/// A certificate with a line for each dataset.
fn certificate(lines: &[(&str, &str)]) -> String {
    let line = |(name, status): &(&str, &str)| {
        format!(
            "DATANAME: lab/inputs/{name} | STATUS: {status} | TIME: 2026_11_27_12_00_00 | LAST COMMAND: x | CPU_USAGE: N/A\n"
        )
    };
    let divider = "=".repeat(16);
    format!("PER ENVIRONMENT MONITORING:\n{divider}\n{}{divider}\n", lines.iter().map(line).collect::<String>())
}

fn machines_share_a_certificate(jobs: &BucketJob) {
    let names = ["a", "b", "c"];
    let initial = names.map(|name| (name, "INITIALIZING"));
    // Each machine has another io-dir, whose certificate knows the end of its own dataset only.
    for (index, status) in ["SUCCESS", "FAILED", "SUCCESS"].into_iter().enumerate() {
        let record = jobs.ended(index as u64 + 1, 3);
        let mut lines = initial;
        lines[index].1 = status;
        fs::write(jobs.folder().join("logs/certificate.txt"), certificate(&lines)).unwrap();
        jobs.run(&["push"], &record).ok();
        fs::remove_dir_all(jobs.io_dir()).unwrap();
    }
    let merged = jobs.bucket.text("lab/results/job__pca_1/logs/certificate.txt");
    let statuses: Vec<&str> =
        merged.lines().filter_map(|line| line.split(" | STATUS: ").nth(1)?.split(" | ").next()).collect();
    assert_eq!(statuses, ["SUCCESS", "FAILED", "SUCCESS"], "{merged}");
    let results: Vec<String> =
        jobs.results_in_bucket().into_iter().filter(|key| key.starts_with("process_results/")).collect();
    let expected = ["c.yaml", "end.txt", "result1", "result2", "result3"].map(|name| format!("process_results/{name}"));
    assert_eq!(results, expected);
}

#[test]
fn machines_with_their_own_io_dirs_share_a_certificate_in_a_directory() {
    machines_share_a_certificate(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn machines_with_their_own_io_dirs_share_a_certificate_on_s3() {
    machines_share_a_certificate(&BucketJob::in_bucket(TestBucket::s3("certificate")));
}

#[test]
fn an_empty_result_folder_gets_no_key_that_ends_in_a_slash() {
    let jobs = BucketJob::in_bucket(TestBucket::s3("folders"));
    let mut record = jobs.ended(1, 1);
    fs::create_dir(jobs.folder().join("process_results/empty")).unwrap();
    let folder = json!({"path": "results/job__pca_1/process_results/empty/", "size": 0, "source": "/x/empty"});
    record["results"].as_array_mut().unwrap().push(folder);
    let pushed = jobs.run(&["push"], &record).ok();
    let keys = jobs.results_in_bucket();
    assert!(keys.iter().all(|key| !key.ends_with('/')), "{keys:?}");
    let verified =
        jobs.run(&["verify"], &json!({"job": record["job"], "io_dir": record["io_dir"], "results": record["results"]}));
    verified.ended_saying(0, "`job__pca_1`: 2 files verified in the io-dir and `s3://folders");
    assert_eq!(pushed.record().pushed, Some(true));
}

#[test]
fn push_reports_jobs_without_a_bucket() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    for field in ["bucket", "group"] {
        record["job"].as_object_mut().unwrap().remove(field);
    }
    jobs.run(&["push"], &record).ended_saying(1, "1 job does not come from a bucket: its results stay in the io-dir");
    let input = format!("{record}\n{}", jobs.ended(1, 1));
    let both = ncaas_sync(&jobs.home, &["push"]).dir(jobs.home.path()).stdin(input).run();
    both.ended_saying(0, "1 job does not come from a bucket");
}

#[test]
fn push_writes_the_usage_record_of_an_ended_job() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let mut record = jobs.ended(1, 1);
    record["container"]["started_at"] = "2026-11-22T10:24:55.5Z".into();
    record["container"]["finished_at"] = "2026-11-22T10:25:55.5Z".into();
    jobs.run(&["push"], &record).ok();
    let usage: Value = serde_json::from_str(&jobs.bucket.text("logs/lab/i-f00.json")).unwrap();
    assert_eq!((&usage["databucket"], &usage["start"]), (&json!("pca"), &json!("2026-11-22T10:24:55Z")));
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
