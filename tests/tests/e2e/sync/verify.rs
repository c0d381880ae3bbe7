//! `ncaas-sync verify`.

use std::fs;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::bucket_job::BucketJob;
use ncaas_tests::sync::{ncaas_sync, write_below};

#[test]
fn verify_finds_damaged_files_in_the_io_dir_and_the_bucket() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    let io_dir = home.path().join("io-dir/lab");
    let sum = |content: &str| {
        let line = ncaas_tests::pipe(&format!("printf %s {content} | sha256sum")).text();
        line.split(' ').next().unwrap().to_owned()
    };
    let result = |name: &str| serde_json::json!({"path": format!("results/job__pca_1/process_results/{name}"), "size": 5, "sha256": sum("12345"), "source": "/x"});
    for name in ["good", "bad-here", "bad-there", "gone-there"] {
        write_below(
            &io_dir,
            &format!("results/job__pca_1/process_results/{name}"),
            if name == "bad-here" { "1234x" } else { "12345" },
        );
        if name != "gone-there" {
            let content = if name == "bad-there" { "1234x" } else { "12345" };
            bucket.put(&format!("lab/results/job__pca_1/process_results/{name}"), content);
        }
    }
    let record = |names: &[&str]| {
        serde_json::json!({"job": {"id": "job__pca_1", "bucket": bucket.address(), "group": "lab"}, "io_dir": io_dir,
            "results": names.iter().map(|name| result(name)).collect::<Vec<_>>()})
        .to_string()
    };
    ncaas_sync(&home, &["verify"])
        .stdin(record(&["good"]))
        .run()
        .ended_saying(0, "`job__pca_1`: 1 file verified in the io-dir and `");
    let all = record(&["good", "bad-here", "bad-there", "gone-there"]);
    let ran = ncaas_sync(&home, &["verify", "--files"]).stdin(all).run();
    let ran = ran.ended_saying(
        1,
        "`job__pca_1`: 1 different in the bucket, 1 different in the io-dir, 1 missing in the bucket, of 4 files; the first is `",
    );
    let lines = ran.json();
    assert_eq!(lines.last().unwrap()["error"]["kind"], "checksum-mismatch");
    let of =
        |name: &str| lines.iter().find(|line| line["path"].as_str().is_some_and(|path| path.ends_with(name))).unwrap();
    assert_eq!((&of("/bad-here")["io_dir"], &of("/bad-here")["bucket"]), (&"different".into(), &"same".into()));
    assert_eq!((&of("/gone-there")["io_dir"], &of("/gone-there")["bucket"]), (&"same".into(), &"missing".into()));
}

fn the_bucket_is_verified(jobs: &BucketJob) {
    let mut record = jobs.ended(1, 1);
    let result = record["results"][0].clone();
    for name in ["changed", "same_size", "gone"] {
        fs::write(jobs.folder().join("process_results").join(name), "12345").unwrap();
        let mut result = result.clone();
        result["path"] = format!("results/job__pca_1/process_results/{name}").into();
        record["results"].as_array_mut().unwrap().push(result);
    }
    jobs.run(&["push"], &record).ok();
    jobs.run(&["verify"], &record).ended_saying(0, "`job__pca_1`: 4 files verified in the io-dir and `");
    let key = |name: &str| format!("lab/results/job__pca_1/process_results/{name}");
    jobs.bucket.put(&key("changed"), "123");
    jobs.bucket.put(&key("same_size"), "1234x");
    let mut moved = record["results"][3].clone();
    moved["path"] = "results/job__pca_1/process_results/never".into();
    record["results"][3] = moved;
    let ran = jobs.run(&["verify", "--bucket-only", "--files"], &record);
    let told = "`job__pca_1`: 2 different in the bucket, 1 missing in the bucket, of 4 files; the first is `";
    let lines = ran.ended_saying(1, told).json();
    let mut found: Vec<String> = lines
        .iter()
        .filter_map(|line| Some((line["path"].as_str()?, line["bucket"].as_str()?)))
        .map(|(path, found)| format!("{} {found}", path.rsplit('/').next().unwrap()))
        .collect();
    found.sort();
    assert_eq!(found, ["changed different", "never missing", "result1 same", "same_size different"]);
    jobs.run(&["verify", "--io-dir-only"], &record)
        .ended_saying(1, "1 missing in the io-dir, of 4 files; the first is `");
}

#[test]
fn verify_finds_changed_and_missing_files_in_a_directory() {
    the_bucket_is_verified(&BucketJob::in_bucket(TestBucket::directory("pca")));
}

#[test]
fn verify_finds_changed_and_missing_files_on_s3() {
    the_bucket_is_verified(&BucketJob::in_bucket(TestBucket::s3("verify")));
}

#[test]
fn a_damaged_record_in_the_bucket_is_a_failure_that_names_it() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let record = jobs.ended(1, 2);
    jobs.run(&["push"], &record).ok();
    let target = format!("{}/lab", jobs.bucket.address());
    let verify = || ncaas_sync(&jobs.home, &["verify", &target, "job__pca_1"]).dir(jobs.home.path()).run();
    verify().ended_saying(0, "verified");
    let key = "lab/results/job__pca_1/logs/set2.record.json";
    jobs.bucket.put(key, "{\"job\":");
    verify().ended_saying(1, &format!("/{key}` is not a record that the tools wrote"));
}
