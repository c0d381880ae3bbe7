//! `ncaas-sync collect` on more results than a record can list.

use std::fs;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::ended_job::EndedJob;
use ncaas_tests::sync::ncaas_sync;
use serde_json::{Value, json};

#[test]
fn a_long_list_of_results_is_stored_in_a_file_beside_them() {
    const COUNT: usize = 1500;
    // Each byte of these names is six of a record, so that few files are too many.
    let script = r#"
        n=$(printf '\001%.0s' $(seq 250)); d="io-dir/results/$n/$n/$n"; mkdir -p "$d"; cd "$d"; seq 1500 | xargs touch
        "#;
    let job = EndedJob::after(script, &[]);
    let first = job.collect(&["--expect", "*1500"]).ok().record();
    assert_eq!(first.results.map(|results| results.len()), Some(0));
    let told = first.results_file.clone().unwrap();
    assert_eq!(told.path, format!("results/{}/logs/a.npy.results.jsonl", job.id));
    let io_dir = job.home.path().join("io-dir");
    let list = fs::read_to_string(io_dir.join(&told.path)).unwrap();
    assert_eq!((told.count, told.size), (COUNT as u64, list.len() as u64));
    let results: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), COUNT);
    assert!(results.iter().all(|result| io_dir.join(result["path"].as_str().unwrap()).is_file()));
    let saved: Value = serde_json::from_slice(&fs::read(job.folder().join("logs/a.npy.record.json")).unwrap()).unwrap();
    assert_eq!(saved["results_file"]["count"], COUNT);
    let again = job.collect(&["--expect", "*1501"]);
    let again = again.ended_saying(1, "has 1500 results, but none matches `*1501`").record();
    assert_eq!(
        (again.results_file.clone(), again.error_kind()),
        (Some(told.clone()), "results-missing"),
        "a second run finds the same"
    );

    let bucket = TestBucket::directory("pca");
    let mut record = job.record();
    record["job"]["bucket"] = bucket.address().into();
    record["job"]["group"] = "lab".into();
    record["results"] = json!([]);
    record["results_file"] = saved["results_file"].clone();
    for name in ["a.npy.log", "DATASET_NAME:a.npy_STATUS.txt", "certificate.txt"] {
        fs::write(job.folder().join("logs").join(name), "text").unwrap();
    }
    let run = |arguments: &[&str]| ncaas_sync(&job.home, arguments).stdin(record.to_string()).run();
    run(&["push"]).ok();
    let list_key = format!("lab/{}", told.path);
    assert!(bucket.keys().contains(&list_key));
    assert!(bucket.keys().iter().any(|key| key.ends_with("/end.txt")));
    run(&["verify"]).ended_saying(0, "1501 files verified in the io-dir and `");
    run(&["verify", "--bucket-only"]).ended_saying(0, "1501 files verified in `");
    let one = results[COUNT / 2]["path"].as_str().unwrap();
    bucket.put(&format!("lab/{one}"), "something");
    run(&["verify"]).ended_saying(1, ", of 1501 files; the first is `");
    // A list that was shortened would hide what is missing.
    bucket.put(&list_key, &list[..list.len() / 2]);
    run(&["verify", "--bucket-only"]).ended_saying(1, "is not the list of results that the record names");
    fs::write(io_dir.join(&told.path), &list[..list.len() / 2]).unwrap();
    let ran = run(&["push"]);
    assert_eq!((ran.status, ran.record().error_kind()), (1, "checksum-mismatch"), "{}", ran.stderr);
}
