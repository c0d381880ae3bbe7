//! Groups take turns in the whole pipe.

use std::time::Duration;

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::CleanUp;
use ncaas_tests::pipeline::{ANALYSIS, pipeline_script};
use ncaas_tests::{unique, wait_until};
use serde_json::json;

/// More than the pipe's stages together hold of one group.
const MANY: usize = 400;

#[test]
fn a_submission_of_many_datasets_delays_no_other_group() {
    let bucket = TestBucket::directory(&unique("turns"));
    let folder = tempfile::tempdir().unwrap();
    let job = |name: &str| format!("job__{}_{name}", bucket.analysis());
    let mut clean_up = CleanUp::new();
    for group in ["a", "b"] {
        clean_up.labelled(&format!("org.neurocaas.job={}", job(group)));
        bucket.put(&format!("{group}/configs/c.json"), "{}");
    }
    let names: Vec<String> = (0..MANY).map(|number| format!("a/inputs/{number}.txt")).collect();
    names.iter().for_each(|name| bucket.put(name, "one"));
    bucket.put("b/inputs/x.txt", "one");
    let pipe = BackgroundPipe::start(folder.path(), &pipeline_script(&bucket.address(), "", ANALYSIS));
    let submit = |group: &str, dataname: serde_json::Value| {
        let submission =
            json!({"dataname": dataname, "configname": format!("{group}/configs/c.json"), "timestamp": group});
        bucket.put(&format!("{group}/submissions/1submit.json"), submission.to_string());
    };
    let ended_of_a =
        || bucket.keys().into_iter().filter(|key| key.starts_with("a/results/") && key.ends_with(".record.json"));
    submit("a", json!(names));
    wait_until("the first end of group a", Duration::from_secs(60), || ended_of_a().next().is_some());
    let before = ended_of_a().count();
    submit("b", json!("b/inputs/x.txt"));
    let end = format!("b/results/{}/process_results/end.txt", job("b"));
    wait_until("the end of group b", Duration::from_secs(120), || bucket.get(&end).is_some());
    let meanwhile = ended_of_a().count() - before;
    pipe.terminate();
    assert!(meanwhile < 40, "{meanwhile} jobs of the other group ended first");
}
