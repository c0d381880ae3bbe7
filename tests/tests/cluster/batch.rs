//! `ncaas-submit place --on batch:...`: jobs of AWS Batch, which are real containers.

use std::process::{Command, Stdio};
use std::time::Duration;

use ncaas_tests::batch_service::BatchService;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::certificate::parse_certificate;
use ncaas_tests::{Run, wait_until};
use serde_json::{Value, json};

/// Copies the dataset into the results, and fails where it says `fail`.
const ANALYSIS: &str = r#"FROM ncaas/fixture
ENTRYPOINT ["sh", "-c", "echo run; cat $1 >io-dir/results/out.txt; sleep 2; ! grep -q fail $1", "analysis"]
CMD []
"#;

fn submit(bucket: &TestBucket, datasets: &[(&str, &str)]) {
    Run::tool("ncaas-submit").args(["init", &bucket.address(), "--group", "lab"]).run().ok();
    bucket.put("lab/configs/config.json", "{}");
    for (name, content) in datasets {
        bucket.put(&format!("lab/inputs/{name}"), content);
    }
    let names: Vec<String> = datasets.iter().map(|(name, _)| format!("lab/inputs/{name}")).collect();
    let submission = json!({"dataname": names, "configname": "lab/configs/config.json", "timestamp": "1"});
    bucket.put("lab/submissions/1_submit.json", submission.to_string());
}

#[test]
fn datasets_run_as_jobs_of_batch_and_a_killed_placer_finds_them_again() {
    let batch = BatchService::start(ANALYSIS, 1);
    let bucket = TestBucket::s3("batch");
    submit(&bucket, &[("a.txt", "a"), ("b.txt", "fail")]);
    let folder = format!("lab/results/job__{}_1", bucket.analysis());

    let watch = format!("ncaas-submit watch {} --once", bucket.address());
    let mut first = batch.pipe(&watch).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let placements = || bucket.keys().into_iter().filter(|key| key.starts_with(".ncaas/placements/")).count();
    let has_started = || {
        let claim = bucket.get(&format!("{folder}/claim.json")).unwrap_or_default();
        let claim: Value = serde_json::from_slice(&claim).unwrap_or_default();
        claim["runs"] == json!({"1": 1, "2": 1})
    };
    let began = std::time::Instant::now();
    while !has_started() {
        assert!(began.elapsed() < Duration::from_secs(30), "the jobs do not run: {}", batch.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(placements(), 2, "the records are in the bucket");
    let group = format!("-{}", first.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    first.wait().unwrap();

    let second = batch.pipe(&watch).output().unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "one analysis failed: {stderr}");
    let records = String::from_utf8(second.stdout).unwrap();
    let last: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(last["placement"]["on"], "batch", "{last}");

    for (name, status) in [("a.txt", "success"), ("b.txt", "failed")] {
        let saved: Value = serde_json::from_str(&bucket.text(&format!("{folder}/logs/{name}.record.json"))).unwrap();
        assert_eq!(
            (&saved["container"]["status"], &saved["job"]["claim"]["run"]),
            (&json!(status), &json!(1)),
            "{stderr}"
        );
    }
    assert_eq!(bucket.text(&format!("{folder}/process_results/a.txt/out.txt")), "a");
    let certificate = parse_certificate(&bucket.text(&format!("{folder}/logs/certificate.txt")));
    let statuses: Vec<String> = certificate.into_iter().map(|line| line.status).collect();
    assert_eq!(statuses, ["SUCCESS", "FAILED"]);
    bucket.text(&format!("{folder}/process_results/end.txt"));
    assert_eq!(placements(), 0, "the records of ended jobs are removed");
    wait_until("nothing is left", Duration::from_secs(30), || batch.leftovers().is_empty());
}

#[test]
fn two_placers_that_submit_the_same_record_have_one_result() {
    let batch = BatchService::start(ANALYSIS, 2);
    let bucket = TestBucket::s3("batch");
    submit(&bucket, &[("a.txt", "a")]);
    let folder = format!("lab/results/job__{}_1", bucket.analysis());
    let record = Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run().ok().text();
    let placers = [(); 2].map(|()| batch.pipe(&format!("echo '{}'", record.trim())).spawn().unwrap());
    for placer in placers {
        let ended = placer.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{stderr}{}", String::from_utf8_lossy(&ended.stdout));
        let last: Value =
            serde_json::from_slice(ended.stdout.trim_ascii_end().split(|byte| *byte == b'\n').next_back().unwrap())
                .unwrap();
        assert_eq!((&last["pushed"], &last["container"]["status"]), (&json!(true), &json!("success")), "{stderr}");
    }
    let claim: Value = serde_json::from_str(&bucket.text(&format!("{folder}/claim.json"))).unwrap();
    wait_until("the later job has ended, too", Duration::from_secs(30), || batch.leftovers().is_empty());
    assert_eq!(claim["runs"], json!({"1": 2}), "each has submitted a job");
    assert_eq!(bucket.text(&format!("{folder}/process_results/out.txt")), "a");
    let log = bucket.text(&format!("{folder}/logs/a.txt.log"));
    assert_eq!(log.matches("run\n").count(), 1, "{log}");
    let certificate = parse_certificate(&bucket.text(&format!("{folder}/logs/certificate.txt")));
    assert_eq!(certificate.iter().map(|line| line.status.as_str()).collect::<Vec<_>>(), ["SUCCESS"]);
}
