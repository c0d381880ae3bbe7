//! The seven stages as one pipe, and the scenario that runs on every kind of bucket and engine.

use std::ffi::OsStr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::background_pipe::BackgroundPipe;
use crate::bucket::TestBucket;
use crate::certificate::certificate_dataset_lines;
use crate::engine::{CleanUp, FIXTURE, containers_labelled};
use crate::{Ran, pipe_in, unique, wait_until};

/// The analysis of these tests reads its dataset, prints, writes a result into the io-dir and another one
/// elsewhere. It fails for a dataset that asks for it.
pub const ANALYSIS: &str = r#"
echo "reading $1"; echo "a warning" >&2
name=$(basename "$1")
cp "$1" "$HOME/io-dir/results/$name"
mkdir -p "$HOME/out" && cat "$2" > "$HOME/out/$name.config"
grep -q fail "$1" && exit 7
echo "done with $name"
"#;

/// The pipe as it is printed in the design.
pub fn pipeline_script(bucket: &str, watch: &str, analysis: &str) -> String {
    let quoted = analysis.replace('\'', r"'\''");
    format!(
        "ncaas-submit watch {bucket} {watch} | ncaas-sync pull --io-dir io-dir \
         | ncaas-exec run --image {FIXTURE} -- sh -c '{quoted}' analysis | ncaas-logs save --live \
         | ncaas-sync collect | ncaas-sync push | ncaas-exec rm"
    )
}

/// Puts a submit file with an unknown field into a bucket.
pub fn put_submission(bucket: &TestBucket, name: &str, dataname: &Value, configname: &str) {
    let submission = format!(
        r#"{{"dataname": {dataname}, "configname": "{configname}", "timestamp": "{name}", "note": {{"n": 1.50}}}}"#
    );
    bucket.put(&format!("lab/submissions/{name}submit.json"), submission);
}

/// A submission of one dataset in a directory, for a pipe that runs in the background.
pub struct SubmittedJob {
    /// The bucket.
    pub bucket: TestBucket,
    /// The working directory of the pipe.
    pub folder: TempDir,
    /// The submission's timestamp.
    pub name: String,
    /// The job's id.
    pub id: String,
    /// The label of its container, `name=value`.
    pub label: String,
    _clean_up: CleanUp,
}

impl SubmittedJob {
    /// Submits a dataset `a.txt` with the content `one`; the timestamp begins with `name`.
    pub fn new(name: &str) -> Self {
        let bucket = TestBucket::directory("pca");
        let name = unique(name);
        let id = format!("job__pca_{name}");
        let label = format!("org.neurocaas.job={id}");
        let mut clean_up = CleanUp::new();
        clean_up.labelled(&label);
        bucket.put("lab/inputs/a.txt", "one");
        bucket.put("lab/configs/c.json", "{}");
        put_submission(&bucket, &name, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
        let folder = tempfile::tempdir().unwrap();
        SubmittedJob { bucket, folder, name, id, label, _clean_up: clean_up }
    }

    /// Starts the seven stages with this script as the analysis.
    pub fn start_pipe(&self, analysis: &str) -> BackgroundPipe {
        BackgroundPipe::start(self.folder.path(), &pipeline_script(&self.bucket.address(), "", analysis))
    }

    /// The key of a file in the job's folder.
    pub fn key(&self, path: &str) -> String {
        format!("lab/results/{}/{path}", self.id)
    }

    /// Waits until the job has a container.
    pub fn wait_for_container(&self) {
        let exists = || !containers_labelled(&self.label).is_empty();
        wait_until("the job's container", Duration::from_secs(30), exists);
    }

    /// Waits until the job's container was removed.
    pub fn wait_for_removal(&self) {
        let is_removed = || containers_labelled(&self.label).is_empty();
        wait_until("the container's removal", Duration::from_secs(20), is_removed);
    }
}

/// A dataset whose name a shell would run.
pub const ODD_DATASET: &str = "lab/inputs/b $(touch x) 'q\" ü:.txt";

/// Runs three submissions through the whole pipe, of two datasets, of one that fails, and of one that is refused, and
/// checks everything that is left in the bucket.
pub fn run_three_submissions(bucket: &TestBucket, environment: &[(&str, &OsStr)]) {
    let folder = tempfile::tempdir().unwrap();
    let two = unique("two");
    let fails = unique("fails");
    let refused = unique("refused");
    let job = |name: &str| format!("job__{}_{name}", bucket.analysis());
    let mut clean_up = CleanUp::new();
    for name in [&two, &fails, &refused] {
        clean_up.labelled(&format!("org.neurocaas.job={}", job(name)));
    }
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put(ODD_DATASET, "two");
    bucket.put("lab/inputs/bad.txt", "fail");
    bucket.put("lab/configs/config.yaml", "n: 1\n");
    put_submission(bucket, &two, &serde_json::json!(["lab/inputs/a.txt", ODD_DATASET]), "lab/configs/config.yaml");
    put_submission(bucket, &fails, &serde_json::json!("lab/inputs/bad.txt"), "lab/configs/config.yaml");
    put_submission(bucket, &refused, &serde_json::json!("lab/inputs/a.txt"), "lab/configs/missing.yaml");

    let ran: Ran = pipe_in(folder.path(), &pipeline_script(&bucket.address(), "--once", ANALYSIS), environment);
    assert_eq!(ran.status, 1, "{}\n{}", ran.stderr, ran.text());

    let last = |name: &str, dataset: u64| {
        let all = ran.json();
        let of_job = |record: &&Value| record["job"]["id"] == job(name).as_str() && record["job"]["dataset"] == dataset;
        all.iter().rfind(of_job).unwrap_or_else(|| panic!("no record of {name} {dataset}: {}", ran.text())).clone()
    };
    for dataset in [1, 2] {
        let record = last(&two, dataset);
        assert_eq!(record["container"]["status"], "success", "{record}");
        assert_eq!(record["error"], Value::Null);
        assert_eq!(record["note"]["n"].to_string(), "1.50", "what a submit file says beside the known passes through");
    }
    let failed = last(&fails, 1);
    assert_eq!((&failed["container"]["status"], &failed["container"]["exit_code"]), (&"failed".into(), &7.into()));
    assert_eq!(failed["error"], Value::Null, "a job that fails is no failure of a tool");
    let refusal = last(&refused, 1);
    assert_eq!(refusal["error"]["kind"], "bad-submission");
    assert!(refusal["error"]["message"].as_str().unwrap().contains("lab/configs/missing.yaml"), "{refusal}");

    let at = |name: &str, rest: &str| format!("lab/results/{}/{rest}", job(name));
    assert_eq!(bucket.text(&at(&two, "process_results/a.txt/a.txt")), "one");
    let odd = ODD_DATASET.rsplit('/').next().unwrap();
    assert_eq!(bucket.text(&at(&two, &format!("process_results/{odd}/{odd}"))), "two");
    assert_eq!(
        bucket.text(&at(&two, "process_results/a.txt/out/a.txt.config")),
        "n: 1\n",
        "written elsewhere in the container"
    );
    assert_eq!(bucket.text(&at(&two, "process_results/config.yaml")), "n: 1\n", "the config that it ran with");
    assert_eq!(bucket.text(&at(&fails, "process_results/bad.txt")), "fail", "results of a failed job are results");
    for name in [&two, &fails, &refused] {
        assert!(bucket.get(&at(name, "process_results/end.txt")).is_some(), "end.txt of {name}: {:#?}", bucket.keys());
    }
    for label in ["a.txt", odd] {
        let log = bucket.text(&at(&two, &format!("logs/{label}.log")));
        assert!(log.contains(&format!("done with {label}")) && log.contains("a warning"), "{log}");
        let status: Value =
            serde_json::from_str(&bucket.text(&at(&two, &format!("logs/DATASET_NAME:{label}_STATUS.txt")))).unwrap();
        assert_eq!(status["status"], "SUCCESS");
        assert!(bucket.get(&at(&two, &format!("logs/{label}.record.json"))).is_some());
    }
    let certificate = bucket.text(&at(&two, "logs/certificate.txt"));
    let lines = certificate_dataset_lines(&certificate);
    assert_eq!(lines.len(), 2, "{certificate}");
    assert!(lines[0].starts_with("DATANAME: lab/inputs/a.txt | STATUS: SUCCESS | TIME: "), "{certificate}");
    assert!(lines[1].starts_with(&format!("DATANAME: {ODD_DATASET} | STATUS: SUCCESS | TIME: ")), "{certificate}");
    let certificate = bucket.text(&at(&fails, "logs/certificate.txt"));
    assert!(certificate_dataset_lines(&certificate)[0].contains("| STATUS: FAILED |"), "{certificate}");
    let certificate = bucket.text(&at(&refused, "logs/certificate.txt"));
    assert!(certificate_dataset_lines(&certificate)[0].contains("| STATUS: FAILED |"), "{certificate}");
    assert!(certificate.contains("lab/configs/missing.yaml"), "the certificate says why: {certificate}");

    for name in [&two, &fails, &refused] {
        assert_eq!(containers_labelled(&format!("org.neurocaas.job={}", job(name))), Vec::<String>::new());
    }
    assert!(!folder.path().join("x").exists(), "a dataset's name reached a shell");
    let again = pipe_in(folder.path(), &pipeline_script(&bucket.address(), "--once", ANALYSIS), environment);
    assert_eq!((again.status, again.text()), (0, String::new()), "what is done is not done again: {}", again.stderr);
}
