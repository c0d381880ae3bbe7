//! A pipe with `ncaas-exec wait` in the place of `ncaas-logs save`.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::certificate::parse_certificate;
use ncaas_tests::engine::{CleanUp, containers_labelled};
use ncaas_tests::pipeline::{ANALYSIS, pipeline_script, put_submission};
use ncaas_tests::{pipe_in, unique};
use serde_json::json;

fn nothing_is_published_without_a_saved_log(bucket: &TestBucket) {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("unsaved");
    let id = format!("job__{}_{name}", bucket.analysis());
    let label = format!("org.neurocaas.job={id}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put("lab/inputs/bad.txt", "fail");
    bucket.put("lab/configs/c.json", "{}");
    put_submission(bucket, &name, &json!(["lab/inputs/a.txt", "lab/inputs/bad.txt"]), "lab/configs/c.json");
    let script = pipeline_script(&bucket.address(), "--once --hold 0s", ANALYSIS);
    let end = format!("lab/results/{id}/process_results/end.txt");
    let ran = pipe_in(folder.path(), &script.replace("ncaas-logs save --live", "ncaas-exec wait"), &[]);
    for dataset in ["a.txt", "bad.txt"] {
        let refused = format!("cannot push `{id}`: the log of `{dataset}` was not saved\n");
        assert!(ran.stderr.contains(&refused), "{}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("\nhint: put `ncaas-logs save` ").count(), 1, "{}", ran.stderr);
    let kinds: Vec<_> = ran.json().iter().map(|record| record["error"]["kind"].clone()).collect();
    assert_eq!((ran.status, kinds), (1, vec![json!("file-not-found"); 2]));
    assert!(bucket.get(&end).is_none(), "{:?}", bucket.keys());
    assert_eq!(containers_labelled(&label).len(), 2);
    // The right pipe continues.
    let ran = pipe_in(folder.path(), &script, &[]);
    assert!(ran.json().iter().all(|record| record["error"].is_null()), "{}", ran.stderr);
    let logs = |file: &str| bucket.text(&format!("lab/results/{id}/logs/{file}"));
    let statuses: Vec<String> =
        parse_certificate(&logs("certificate.txt")).into_iter().map(|line| line.status).collect();
    assert_eq!(statuses, ["SUCCESS", "FAILED"]);
    assert!(logs("a.txt.log").contains("done with a.txt") && logs("bad.txt.log").contains("a warning"));
    assert!(bucket.get(&end).is_some(), "{:?}", bucket.keys());
    assert_eq!(containers_labelled(&label), Vec::<String>::new());
}

#[test]
fn nothing_is_published_to_a_directory_without_a_saved_log() {
    nothing_is_published_without_a_saved_log(&TestBucket::directory("pca"));
}

#[test]
fn nothing_is_published_to_s3_without_a_saved_log() {
    nothing_is_published_without_a_saved_log(&TestBucket::s3("unsaved"));
}
